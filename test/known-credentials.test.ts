/** A command that says drover's own credential to a cluster, as it was read from a file or a program: masked wherever it is shown or kept. */

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { parseConfig } from '../src/config.ts'
import type { RunRequest, RunState } from '../src/core/model.ts'
import { runIdFor } from '../src/core/run-id.ts'
import { createTerminalReporter } from '../src/frontends/terminal/reporter.ts'
import { startLocal } from '../src/local.ts'
import { startKubernetesPeer } from '../src/playground/kubernetes/peer.ts'
import { startSlackPeer } from '../src/playground/slack/peer.ts'
import { processEngine } from './peers/engine-process.ts'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
}, 30_000)

/** drover between a pretend Slack and a pretend cluster that takes every token in `good`, with this user in its kubeconfig. */
async function setUp(good: readonly string[], userIn: (folder: string) => object) {
  const folder = mkdtempSync(join(tmpdir(), 'drover-known-'))
  closing.push(async () => rmSync(folder, { recursive: true, force: true }))
  const people = good.map((token, n) => ({ name: `me-${n}`, token, rules: [{ verbs: ['*'], resources: ['*'] }] }))
  const cluster = await startKubernetesPeer({ engine: processEngine(), people, pods: [{ namespace: 'shop', name: 'web-1' }] })
  const slack = await startSlackPeer({ rateLimits: false })
  closing.push(cluster.close, slack.close)
  const file = join(folder, 'config')
  const user = userIn(folder)
  writeFileSync(
    file,
    JSON.stringify({
      'current-context': 'here',
      contexts: [{ name: 'here', context: { cluster: 'c', user: 'me', namespace: 'shop' } }],
      clusters: [{ name: 'c', cluster: { server: cluster.url } }],
      users: [{ name: 'me', user }],
    }),
  )
  const config = parseConfig(
    `
ledger: { path: ':memory:' }
slack: { signingSecret: { env: SIGNING }, botToken: { env: TOKEN }, team: T0PLAY, botUserId: ${slack.botUserId}, botId: ${slack.botId}, apiUrl: '${slack.apiUrl}' }
backends: { kube: { kind: kubernetes, kubeconfig: '${file}' } }
rules:
  - { id: all, effect: allow, who: { users: [T0PLAY/U0ALEX], cli: true }, commands: ['...'], rights: [shell] }
`,
    'drover.yaml',
    { SIGNING: slack.signingSecret, TOKEN: slack.botToken },
  )
  let terminal = ''
  let told = (_: RunState): void => {}
  const take = (text: string) => {
    terminal += text
  }
  const reporter = createTerminalReporter({ out: take, err: take, live: true, json: false })
  const logged: object[] = []
  const local = await startLocal(config, {
    log: (event) => void logged.push(event),
    terminal: {
      ...reporter,
      async deliver(state, ...rest) {
        await reporter.deliver(state, ...rest)
        told(state)
      },
    },
  })
  closing.push(() => local.stop(5_000))
  let deliveries = 0
  const run = async (text: string, place: RunRequest['place']) => {
    const delivery = `d${deliveries++}`
    const id = await runIdFor(delivery)
    const ended = new Promise<RunState>((resolve) => {
      told = resolve
    })
    const actor: RunRequest['actor'] =
      place.kind === 'slack' ? { kind: 'slack-user', team: 'T0PLAY', user: 'U0ALEX' } : { kind: 'cli', user: 'ann' }
    await local.gateway.submit({
      ...{ id, actor, place, trigger: { kind: 'cli', delivery }, receivedAt: Date.now() },
      selector: { name: 'web-1' },
      command: { argv: ['/bin/sh', '-c', text] },
    })
    if (place.kind === 'terminal') await ended
    else await expect.poll(async () => (await local.gateway.read(id))?.delivered, { timeout: 15_000 }).toBe(true)
    const state = await local.gateway.read(id)
    const kept = await Promise.all(state!.executions.map(({ target }) => local.gateway.output(id, target.id)))
    return { state: state!, kept: JSON.stringify(kept) }
  }
  const channel = () =>
    slack
      .messages('C0OPS')
      .flatMap(({ ts }) => slack.thread('C0OPS', ts).map((one) => `${one.text}${JSON.stringify(one.blocks)}`))
  return { folder, local, cluster, run, logged, terminal: () => terminal, channel: () => channel().join('\n') }
}

/** Said by the container without standing in the command. */
const says = (token: string) => `printf '%s%s\\n' '${token.slice(0, 9)}' '${token.slice(9)}'`
const slackPlace = { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' } as const
const terminalPlace = { kind: 'terminal' } as const
const tokens = ['opaque0of0yesterday0without0shape', 'opaque0of0today0without0shape'] as const

test('[no-secret-shown] S33 a token file’s token is masked in Slack, on a terminal, in the ledger and in the log; the next one too', async () => {
  const it = await setUp([tokens[1]], (folder) => {
    writeFileSync(join(folder, 'token'), tokens[0])
    return { tokenFile: 'token' }
  })
  // Refused, and read all the same.
  await it.run('true', terminalPlace)
  writeFileSync(join(it.folder, 'token'), tokens[1])
  const text = tokens.map(says).join('; ')
  for (const place of [slackPlace, terminalPlace]) {
    const { kept, state } = await it.run(text, place)
    expect(state.executions[0]?.ending).toEqual({ status: 'exited', code: 0 })
    expect(state.executions[0]?.count?.masked).toBe(2)
    expect(kept).toContain('[masked: known secret]')
    it.local.house.log({ event: 'said', text: `${tokens[0]} ${tokens[1]}` })
    for (const token of tokens)
      for (const shown of [kept, it.channel(), it.terminal(), JSON.stringify(it.logged)]) expect(shown).not.toContain(token)
  }
  expect(it.channel()).toContain('[masked: known secret]')
  expect(it.terminal()).toContain('[masked: known secret]')
}, 60_000)

test('[no-secret-shown] S33 what an exec plugin gives, and what the kubeconfig gives the plugin, is masked', async () => {
  const given = 'the0plugins0own0secret'
  const it = await setUp([tokens[0]], (folder) => {
    const status = { token: tokens[0] }
    const apiVersion = 'client.authentication.k8s.io/v1'
    const plugin = join(folder, 'plugin')
    writeFileSync(plugin, `#!/bin/sh\necho '${JSON.stringify({ kind: 'ExecCredential', apiVersion, status })}'\n`)
    chmodSync(plugin, 0o755)
    const env = [
      { name: 'VAULT_TOKEN', value: given },
      { name: 'AWS_PROFILE', value: 'production' },
    ]
    return { exec: { apiVersion, command: './plugin', interactiveMode: 'Never', env } }
  })
  const { kept } = await it.run(`${says(tokens[0])}; ${says(given)}; echo production`, terminalPlace)
  expect(kept.match(/\[masked: known secret\]/g)).toHaveLength(2)
  expect(kept).toContain('production')
}, 60_000)

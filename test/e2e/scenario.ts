/** One story, told to a real drover process on each runtime: signed requests in, a pretend Slack and Rancher out, real `sh` behind them. */

import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { type PeerMessage, type SlackPeer, startSlackPeer } from '../../src/playground/slack/peer.ts'
import { processEngine } from '../peers/engine-process.ts'

export type Running = {
  readonly url: string
  /** SIGKILL, then started again on the same ledger. */
  killAndRestart(): Promise<Running>
  stop(): Promise<void>
}

/** `config` is the text of drover.yaml without `listen` and `ledger`; `env` holds the secrets that it names. */
export type StartDrover = (config: string, env: Readonly<Record<string, string>>) => Promise<Running>

const hookSecret = 'e2e-hook-secret-0123456789'

/** How the pretend Slack reaches drover. */
export type Via = 'http' | 'socket'

function configText(slack: SlackPeer, rancher: RancherPeer, via: Via): string {
  return `
slack:
  ${via === 'http' ? 'signingSecret: { env: SLACK_SIGNING_SECRET }' : 'appToken: { env: SLACK_APP_TOKEN }'}
  botToken: { env: SLACK_BOT_TOKEN }
  team: ${slack.teamId}
  botUserId: ${slack.botUserId}
  botId: ${slack.botId}
  apiUrl: ${slack.apiUrl}
  shareTo: [C0INC123]
backends:
  play: { kind: rancher1, url: ${rancher.url}/v2-beta, accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } }
limits: { targets: 150, runsPerActor: 3 }
rules:
  - id: oncall
    effect: allow
    who: { groups: [T0PLAY/S0ONCALL] }
    channels: [T0PLAY/C0OPS, T0PLAY/C0INC123]
    commands: ['...']
    rollouts: ['...']
    rights: [shell]
  - id: hook
    effect: allow
    who: { webhooks: [disk] }
    commands: ['echo *']
hooks:
  disk:
    secrets: [{ env: HOOK_SECRET }]
    channel: T0PLAY/C0INC123
    request: 'name=shop-web-1 -- echo {path}'
    parameters: { path: { pointer: /path, type: path } }
`
}

/** `rollouts`: false where what is before the backend lets none pass. */
export function scenario(
  runtime: string,
  start: StartDrover,
  { via = 'http', rollouts = true }: { readonly via?: Via; readonly rollouts?: boolean } = {},
): void {
  describe(`one story on ${runtime}${via === 'http' ? '' : ', in Socket Mode'}`, () => {
    let slack: SlackPeer
    let rancher: RancherPeer
    let drover: Running

    beforeAll(async () => {
      slack = await startSlackPeer({ rateLimits: false })
      rancher = await startRancherPeer({ generation: 'B', engine: processEngine() })
      drover = await start(configText(slack, rancher, via), {
        ...(via === 'http' ? { SLACK_SIGNING_SECRET: slack.signingSecret } : { SLACK_APP_TOKEN: slack.appToken }),
        SLACK_BOT_TOKEN: slack.botToken,
        CATTLE_ACCESS_KEY: rancher.environmentKey.accessKey,
        CATTLE_SECRET_KEY: rancher.environmentKey.secretKey,
        HOOK_SECRET: hookSecret,
      })
      await connect()
    }, 90_000)

    /** Slack is told where drover is, or waits until drover has come. */
    async function connect(): Promise<void> {
      if (via === 'http') return slack.connect(`${drover.url}/slack/events`)
      slack.connectSocket()
      await until(() => (slack.sockets.open.length === 2 ? true : undefined))
    }

    afterAll(async () => {
      await drover?.stop()
      await slack?.close()
      await rancher?.close()
    }, 30_000)

    /** Everything a thread shows, as one text. */
    const shown = (messages: readonly PeerMessage[]) =>
      messages.map((message) => `${message.text}\n${JSON.stringify(message.blocks ?? [])}`).join('\n')
    const parents = (channel: string) => slack.messages(channel).filter((message) => message.user === slack.botUserId)

    /** The parent that came after `before` messages, once its run has ended. */
    async function ended(channel: string, before: number, ms = 30_000): Promise<PeerMessage> {
      return await until(() => {
        const parent = parents(channel)[before]
        return parent && /drover:again/.test(JSON.stringify(parent.blocks)) ? parent : undefined
      }, ms)
    }

    async function run(
      text: string,
      options: { user?: string; channel?: string } = {},
    ): Promise<{ parent: PeerMessage; all: string }> {
      const channel = options.channel ?? 'C0OPS'
      const before = parents(channel).length
      const delivery = await slack.slash(options.user ?? 'U0ALEX', channel, text)
      expect(delivery.status).toBe(200)
      const parent = await ended(channel, before)
      await until(() => slack.thread(channel, parent.ts).length > 1 || undefined, 10_000).catch(() => {})
      return { parent, all: shown(slack.thread(channel, parent.ts)) }
    }

    it('the answer arrives in a thread, with both streams and the true exit code', async () => {
      const { parent, all } = await run(`name=shop-web-1 cmd='echo out; echo err >&2; exit 3'`)
      expect(all).toContain('exit 3')
      expect(all).toMatch(/out/)
      expect(all).toMatch(/stderr\| err/)
      expect(slack.thread('C0OPS', parent.ts).length).toBeGreaterThan(1)
    })

    it('equal answers are folded', async () => {
      const { all } = await run('service=web stack=shop -- echo same')
      expect(all).toContain('shop-web-1, shop-web-2, shop-web-3')
    })

    it('[once] a mention delivered four times runs once, and answers in its own thread', async () => {
      const starts = rancher.seen.starts.length
      const mention = await slack.mention('U0ALEX', 'C0INC123', '@drover name=shop-web-1 -- echo mentioned')
      expect(mention.status).toBe(200)
      for (const retry of [1, 2, 3]) expect((await slack.resend(mention, retry)).status).toBe(200)
      await until(() => (/exit 0/.test(shown(slack.thread('C0INC123', mention.ts))) ? true : undefined))
      await pause(1_000)
      expect(rancher.seen.starts.length - starts).toBe(1)
    })

    it('[default-deny] who has no rule is refused in private, and told who may', async () => {
      const starts = rancher.seen.starts.length
      await slack.slash('U0SAM', 'C0OPS', 'name=shop-web-1 -- echo no')
      const text = await until(() => (slack.ephemerals('U0SAM').length > 0 ? shown(slack.ephemerals('U0SAM')) : undefined))
      expect(text).toMatch(/No rule allows/)
      expect(text).toContain('S0ONCALL')
      expect(rancher.seen.starts.length).toBe(starts)
    })

    if (via === 'http') requestsOverHttp()
    else deliveriesOverSockets()

    function requestsOverHttp(): void {
      it('forged, stale and future requests are refused, and so is a replay', async () => {
        const before = parents('C0OPS').length
        const genuine = await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- echo replay')
        await ended('C0OPS', before)
        const starts = rancher.seen.starts.length
        const body = genuine.rawBody.replace(/trigger_id=[^&]*/, 'trigger_id=1.2.forged')
        expect(body).not.toBe(genuine.rawBody)
        const now = Math.floor(Date.now() / 1000)
        expect((await slack.send({ body, signature: `v0=${'0'.repeat(64)}` })).status).toBe(401)
        expect((await slack.send({ body, timestamp: now - 600 })).status).toBe(401)
        expect((await slack.send({ body, timestamp: now + 600 })).status).toBe(401)
        await slack.resend(genuine)
        await pause(500)
        expect(rancher.seen.starts.length).toBe(starts)
      })
    }

    function deliveriesOverSockets(): void {
      it('[nothing-lost] both connections are sent away in the middle of a run: it ends and answers once, and the next one runs', async () => {
        const before = parents('C0OPS').length
        const starts = rancher.seen.starts.length
        await slack.slash('U0ALEX', 'C0OPS', "name=shop-web-1 cmd='sleep 2; echo whole'")
        await until(() => (rancher.seen.starts.length > starts ? true : undefined))
        slack.sockets.watch()
        const sentAway = slack.sockets.open
        for (const one of sentAway) one.disconnect('warning')
        const { all } = await run('name=shop-web-2 -- echo meanwhile')
        expect(all).toContain('meanwhile')
        const parent = await ended('C0OPS', before)
        await until(() => (shown(slack.thread('C0OPS', parent.ts)).includes('whole') ? true : undefined))
        await until(() => (slack.sockets.open.some((one) => sentAway.includes(one)) ? undefined : true))
        expect(slack.sockets.fewest).toBeGreaterThanOrEqual(2)
        expect([parents('C0OPS').length - before, rancher.seen.starts.length - starts]).toEqual([2, 2])
      })

      it('[once] a connection that dies with a delivery unacknowledged is opened again, and the retry is the same run', async () => {
        const starts = rancher.seen.starts.length
        slack.sockets.dropOnDelivery(1)
        const mention = await slack.mention('U0ALEX', 'C0INC123', '@drover name=shop-web-1 -- echo dropped')
        expect(mention.failure).toBe('connection_failed')
        await until(() => (/exit 0/.test(shown(slack.thread('C0INC123', mention.ts))) ? true : undefined))
        await until(() => (slack.sockets.open.length === 2 && slack.deliveries.at(-1)?.status === 200 ? true : undefined))
        await pause(1_000)
        expect(rancher.seen.starts.length - starts).toBe(1)
      })

      it('[once] a delivery whose acknowledgement is lost comes again and runs once', async () => {
        const starts = rancher.seen.starts.length
        slack.sockets.loseAcks(1)
        const mention = await slack.mention('U0ALEX', 'C0INC123', '@drover name=shop-web-1 -- echo unheard')
        expect(mention.failure).toBe('http_timeout')
        await until(() => (slack.deliveries.at(-1)?.status === 200 ? true : undefined))
        await until(() => (/exit 0/.test(shown(slack.thread('C0INC123', mention.ts))) ? true : undefined))
        await pause(1_000)
        expect(rancher.seen.starts.length - starts).toBe(1)
      })

      it('there is no request URL for anybody to try', async () => {
        expect((await fetch(`${drover.url}/slack/events`, { method: 'POST', body: 'ssl_check=1' })).status).toBe(404)
      })
    }

    it('[gone-is-gone] a command past its deadline is said to have timed out, and no process of it is left', async () => {
      const { all } = await run('name=shop-web-1 timeout=1s -- sleep 61')
      expect(all).toMatch(/timed out/)
      expect(all).not.toMatch(/still running/)
      expect(await processes('sleep 61')).toEqual([])
    })

    it('[gone-is-gone] Cancel ends the processes', async () => {
      const before = parents('C0OPS').length
      await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- sleep 62')
      const parent = await until(() => {
        const found = parents('C0OPS')[before]
        return found && /drover:cancel/.test(JSON.stringify(found.blocks)) ? found : undefined
      })
      await until(async () => ((await processes('sleep 62')).length > 0 ? true : undefined))
      expect((await slack.click('U0ALEX', 'C0OPS', parent.ts, 'drover:cancel')).status).toBe(200)
      const done = await ended('C0OPS', before)
      expect(shown([done, ...slack.thread('C0OPS', done.ts)])).toMatch(/cancelled/)
      expect(await processes('sleep 62')).toEqual([])
    })

    it('[true-ending] a dropped socket is an unknown outcome, never a success', async () => {
      rancher.faults.dropTcpAfterBytes = 200
      try {
        const { parent, all } = await run(`name=shop-web-1 cmd='head -c 4000 /dev/zero | tr "\\\\0" x; sleep 1'`)
        expect(all).toMatch(/unknown/)
        expect(shown([parent])).not.toMatch(/1 of 1 ok/)
      } finally {
        rancher.faults.dropTcpAfterBytes = undefined
      }
    })

    it('1 MiB of output arrives whole, as a file', async () => {
      const files = slack.files.length
      await run(`name=shop-web-1 cmd='head -c 1048576 /dev/zero | tr "\\\\0" x'`)
      const file = await until(() => slack.files.slice(files).find((one) => one.shared))
      expect(/x{100,}/.exec(new TextDecoder().decode(file.content))?.[0].length).toBe(1_048_576)
    })

    it('a hundred targets answer in a handful of messages', async () => {
      const specs = Array.from({ length: 100 }, (_, i) => ({ name: `many-${i}`, labels: { app: 'many' } }))
      await rancher.addContainers(specs)
      const { parent, all } = await run('label=app=many -- echo here')
      expect(all).toContain('100 of 100')
      expect(slack.thread('C0OPS', parent.ts).length).toBeLessThan(6)
    }, 90_000)

    it('a signed webhook runs once and answers in its channel; a forged and a stale one do not', async () => {
      const starts = rancher.seen.starts.length
      const body = JSON.stringify({ path: '/var/lib' })
      const send = async (headers: Record<string, string>) =>
        await fetch(`${drover.url}/hooks/disk`, {
          method: 'POST',
          body,
          headers: { 'content-type': 'application/json', ...headers },
        })
      const sign = (timestamp: number, secret = hookSecret) => ({
        'x-drover-timestamp': String(timestamp),
        'x-drover-signature': `v1=${createHmac('sha256', secret).update(`v1:${timestamp}:${body}`).digest('hex')}`,
        'x-drover-delivery': 'alert-7',
      })
      const now = Math.floor(Date.now() / 1000)
      expect((await send(sign(now, 'another-secret-0123456789'))).status).toBe(401)
      expect((await send(sign(now - 600))).status).toBe(401)
      const first = await send(sign(now))
      expect(first.status).toBe(202)
      const { run: id } = (await first.json()) as { run: string }
      const again = await send(sign(now + 1))
      expect(await again.json()).toEqual({ run: id, duplicate: true })
      await until(() =>
        parents('C0INC123').some((message) => shown([message]).includes(id) && /drover:again/.test(shown([message])))
          ? true
          : undefined,
      )
      expect(rancher.seen.starts.length - starts).toBe(1)
    })

    it('[stored-once] a result is shared from what was stored, without asking the backend', async () => {
      const { parent } = await run('name=shop-web-1 -- echo worth sharing')
      const requests = rancher.seen.requests.length
      await slack.click('U0ALEX', 'C0OPS', parent.ts, 'drover:share')
      const view = await until(() => slack.views('U0ALEX').at(-1))
      expect((await slack.submitView('U0ALEX', view.id, { to: 'C0INC123' })).status).toBe(200)
      const text = await until(() => {
        const all = slack.messages('C0INC123').flatMap((message) => slack.thread('C0INC123', message.ts))
        return shown(all).includes('worth sharing') ? shown(all) : undefined
      })
      expect(text).toContain('echo')
      expect(rancher.seen.requests.length).toBe(requests)
    })

    it('runs, targets and why answer in private, and run nothing', async () => {
      const starts = rancher.seen.starts.length
      const answer = async (text: string, pattern: RegExp) => {
        await slack.slash('U0ALEX', 'C0OPS', text)
        return await until(() =>
          slack
            .ephemerals('U0ALEX')
            .map((one) => shown([one]))
            .find((one) => pattern.test(one)),
        )
      }
      expect(await answer('runs', /The last runs/)).toMatch(/worth sharing/)
      expect(await answer('targets service=web stack=shop', /3 targets/)).toContain('shop-web-3')
      expect(await answer('why service=web stack=shop -- uptime', /It would run/)).toContain('oncall')
      expect(rancher.seen.starts.length).toBe(starts)
    })

    it('[bounded] one person’s runs over the limit are refused, and when they have ended the next one runs', async () => {
      const before = parents('C0OPS').length
      const refusals = () => slack.ephemerals('U0ALEX').filter((one) => /3 runs of the same asker/.test(shown([one])))
      for (let n = 0; n < 3; n++) await slack.slash('U0ALEX', 'C0OPS', `name=shop-web-${n + 1} -- sleep 4.${n}`)
      await until(() => (parents('C0OPS').length >= before + 3 ? true : undefined))
      await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- echo over')
      await until(() => (refusals().length === 1 ? true : undefined))
      for (let n = 0; n < 3; n++) await ended('C0OPS', before + n)
      await until(async () => {
        const { all } = await run('name=shop-web-1 -- echo room').catch(() => ({ all: '' }))
        return all.includes('room') ? true : undefined
      }, 30_000)
      expect(refusals().length).toBeGreaterThan(0)
    }, 90_000)

    if (rollouts)
      it('a rollout that was undone by hand says so on its card, and offers no way back any more', async () => {
        const before = parents('C0OPS').length
        const said = async (n: number, pattern: RegExp) =>
          await until(() => {
            const card = parents('C0OPS')[before + n]
            return card && pattern.test(shown([card])) ? card : undefined
          }, 60_000)
        await slack.slash('U0ALEX', 'C0OPS', 'rollout image stack=shop service=web container=web image=shop/web:next')
        expect(shown([await said(0, /✅ rolled out/)])).toContain('drover:undo')
        await slack.slash('U0ALEX', 'C0OPS', 'rollout undo stack=shop service=web')
        const undone = await said(1, /✅ rolled back/)
        const card = await said(0, /undone by/)
        const id = /run (r[a-z0-9]{15})/.exec(shown([undone]))?.[1]
        expect(shown([card])).toContain(`"text":"run ${id}"`)
        expect(shown([card])).not.toContain('drover:undo')
      }, 150_000)

    it('[nothing-lost] after kill -9 the run is reported as interrupted in its thread, and not run again', async () => {
      const before = parents('C0OPS').length
      await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-2 timeout=60s -- sleep 63')
      await until(async () => ((await processes('sleep 63')).length > 0 ? true : undefined))
      const starts = rancher.seen.starts.length
      drover = await drover.killAndRestart()
      await connect()
      const parent = await until(() => {
        const found = parents('C0OPS')[before]
        return found && /interrupted/i.test(shown([found])) ? found : undefined
      }, 90_000)
      expect(shown(slack.thread('C0OPS', parent.ts))).toMatch(/stopped while/)
      expect(rancher.seen.starts.length).toBe(starts)
      // The recorded pid outlives the crash: what still runs can be ended from the thread.
      expect(shown([parent])).toMatch(/It may still run on shop-web-2: pid \d+/)
      await slack.click('U0ALEX', 'C0OPS', parent.ts, 'drover:cancel')
      await until(() => {
        const found = parents('C0OPS')[before]
        return found && /Cancel asked by/.test(shown([found])) && !/may still run/.test(shown([found])) ? true : undefined
      })
      expect(await processes('sleep 63')).toEqual([])
    }, 120_000)
  })
}

export async function until<T>(probe: () => T | undefined | Promise<T | undefined>, ms = 20_000): Promise<T> {
  const end = Date.now() + ms
  for (;;) {
    const value = await probe()
    if (value !== undefined) return value
    if (Date.now() > end)
      throw new Error(`waited ${ms} ms in vain for: ${probe.toString().replaceAll(/\s+/g, ' ').slice(0, 200)}`)
    await pause(50)
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Local processes whose argv is exactly this, but for their path. */
async function processes(line: string): Promise<readonly string[]> {
  const { readdir, readFile } = await import('node:fs/promises')
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const argv = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (argv.split('\0').slice(0, -1).join(' ') === line) found.push(pid)
  }
  return found
}

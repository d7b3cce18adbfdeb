/** A pretend Slack, the Slack frontend on a real port, and a gateway in memory that runs nothing by itself. */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import type { Failure } from '../../../src/core/errors.ts'
import type {
  Actor,
  Decision,
  Ending,
  Outcome,
  OutputChunk,
  Place,
  RunEvent,
  RunId,
  RunRequest,
  RunState,
  Selector,
  Target,
  TargetId,
} from '../../../src/core/model.ts'
import type { Gateway, Judgement, RunQuery, TargetsAnswer } from '../../../src/core/ports.ts'
import { reduce } from '../../../src/core/run-state.ts'
import { type SlackOptions, slackRoutes } from '../../../src/frontends/slack/app.ts'
import { createSlackClient } from '../../../src/frontends/slack/client.ts'
import { createSlackReporter } from '../../../src/frontends/slack/reporter.ts'
import { type SlackPeerOptions, startSlackPeer } from '../../../src/playground/slack/peer.ts'

/** Keeps requests and events; every call is in `asked`, so that a test can say what was not asked. */
export function memoryGateway() {
  const events = new Map<RunId, RunEvent[]>()
  const outputs = new Map<string, readonly OutputChunk[]>()
  const seen = new Set<string>()
  const asked: { readonly call: string; readonly args: readonly unknown[] }[] = []
  const answers: {
    submit?: () => Promise<void>
    cancel?: Failure
    share?: Failure
    targets: TargetsAnswer
    why: Judgement
    mayRead?: Failure
  } = {
    targets: { ok: true, targets: [], notes: [] },
    why: { ok: true, targets: [], notes: [], decision: { effect: 'allow', rule: 'oncall', limits: {} }, timeoutMs: 60_000 },
  }

  const state = (run: RunId): RunState | undefined =>
    reduce((events.get(run) ?? []).map((event, index) => ({ seq: index + 1, at: 1_000_000 + index * 1000, hash: '', event })))

  const gateway: Gateway = {
    async submit(request: RunRequest) {
      asked.push({ call: 'submit', args: [request] })
      await answers.submit?.()
      if (events.has(request.id)) return 'duplicate'
      events.set(request.id, [{ type: 'accepted', request }])
      return 'accepted'
    },
    async read(run: RunId) {
      return state(run)
    },
    async output(run: RunId, target: TargetId) {
      asked.push({ call: 'output', args: [run, target] })
      return outputs.get(`${run} ${target}`) ?? []
    },
    async mayRead(by, place, run) {
      asked.push({ call: 'mayRead', args: [by, place, run] })
      return answers.mayRead
    },
    async why(request: RunRequest) {
      asked.push({ call: 'why', args: [request] })
      return answers.why
    },
    async list(query: RunQuery) {
      asked.push({ call: 'list', args: [query] })
      return [...events.keys()].flatMap((run) => {
        const one = state(run)
        if (one === undefined) return []
        const { request, status, outcome, executions } = one
        const succeeded = executions.filter(({ ending }) => ending?.status === 'exited' && ending.code === 0).length
        return [
          {
            id: run,
            at: request.receivedAt,
            actor: request.actor,
            place: request.place,
            argv: request.command.argv,
            status,
            ...(outcome === undefined ? {} : { outcome: outcome.status }),
            targets: executions.length,
            succeeded,
          },
        ]
      })
    },
    async cancel(run: RunId, by: Actor, place: Place) {
      asked.push({ call: 'cancel', args: [run, by, place] })
      return answers.cancel
    },
    async share(run: RunId, by: Actor, from: Place, to: Place) {
      asked.push({ call: 'share', args: [run, by, from, to] })
      return answers.share
    },
    async targets(selector: Selector, by: Actor, place: Place) {
      asked.push({ call: 'targets', args: [selector, by, place] })
      return answers.targets
    },
    async firstTime(key: string) {
      if (seen.has(key)) return false
      seen.add(key)
      return true
    },
  }
  return {
    gateway,
    answers,
    asked,
    state,
    requests: () => [...events.values()].flatMap(([first]) => (first?.type === 'accepted' ? [first.request] : [])),
    submits: () => asked.filter(({ call }) => call === 'submit').length,
    append(run: RunId, ...more: readonly RunEvent[]) {
      events.set(run, [...(events.get(run) ?? []), ...more])
    },
    write(run: RunId, target: TargetId, chunks: readonly OutputChunk[]) {
      outputs.set(`${run} ${target}`, chunks)
    },
    outputOf: (run: RunId) => async (target: TargetId) => outputs.get(`${run} ${target}`) ?? [],
  }
}

export type MemoryGateway = ReturnType<typeof memoryGateway>

export async function startBench(options: { readonly peer?: SlackPeerOptions; readonly slack?: Partial<SlackOptions> } = {}) {
  const peer = await startSlackPeer({ rateLimits: false, ...options.peer })
  const memory = memoryGateway()
  const logs: object[] = []
  const pending = new Set<Promise<unknown>>()
  const clock = { offsetMs: 0 }
  const now = () => Date.now() + clock.offsetMs
  const routes = slackRoutes(
    {
      signingSecret: peer.signingSecret,
      botToken: peer.botToken,
      botUserId: peer.botUserId,
      botId: peer.botId,
      teamId: peer.teamId,
      apiUrl: peer.apiUrl,
      shareTo: ['C0RANDOM'],
      ...options.slack,
    },
    memory.gateway,
    {
      now,
      log: (event) => logs.push(event),
      keepAlive(promise) {
        pending.add(promise)
        promise.finally(() => pending.delete(promise)).catch(() => {})
      },
      siteTimeoutMs: 60_000,
    },
  )
  const server = serve({ fetch: routes.fetch, hostname: '127.0.0.1', port: 0 })
  if (!server.listening) await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/slack/events`
  peer.connect(url)
  const client = createSlackClient({ token: peer.botToken, apiUrl: peer.apiUrl, requestTimeoutMs: 2000 })
  return {
    peer,
    memory,
    logs,
    clock,
    url,
    client,
    reporter: createSlackReporter(client, { shareTo: ['C0RANDOM'], now, log: (event) => logs.push(event) }),
    /** Until everything that outlives its request is done. */
    async settled() {
      while (pending.size > 0) await Promise.allSettled([...pending])
    },
    async close() {
      await Promise.allSettled([...pending])
      const closed = once(server, 'close')
      server.close()
      if ('closeAllConnections' in server) server.closeAllConnections()
      await closed
      await peer.close()
    },
  }
}

export type Bench = Awaited<ReturnType<typeof startBench>>

// ---- runs that have happened -----------------------------------------------------------------

export function target(name: string): Target {
  return { id: `prod/${name}` as TargetId, backend: 'prod', kind: 'docker', native: name, name, labels: {}, facets: {} }
}

export function requestOf(part: Partial<RunRequest> = {}): RunRequest {
  return {
    id: 'raaaaaaaaaaaaaaa' as RunId,
    actor: { kind: 'slack-user', team: 'T0PLAY', user: 'U0ALEX' },
    trigger: { kind: 'slash', delivery: 'slack:1' },
    selector: { labels: [{ op: 'word', word: 'web' }] },
    command: { argv: ['uptime'] },
    place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' },
    receivedAt: 1_000_000,
    ...part,
  }
}

export const allow: Decision = { effect: 'allow', rule: 'ops', limits: {} }

export type Told = {
  readonly name: string
  readonly ending?: Ending
  readonly stdout?: string
  readonly stderr?: string
  readonly dropped?: number
  readonly masked?: number
  readonly way?: string
}

/** The events of a run whose containers did as told, without what was posted. */
export function history(memory: MemoryGateway, request: RunRequest, told: readonly Told[], outcome?: Outcome): RunId {
  const run = request.id
  memory.append(run, { type: 'accepted', request })
  memory.append(run, { type: 'resolved', targets: told.map(({ name }) => target(name)) })
  memory.append(run, { type: 'decided', decision: allow, policy: 'p1', timeoutMs: 60_000 })
  for (const { name, ending, stdout = '', stderr = '', dropped = 0, masked = 0, way } of told) {
    const id = target(name).id
    memory.append(run, { type: 'started', target: id, owner: 'test' as never })
    if (way !== undefined) memory.append(run, { type: 'handle', target: id, handle: { target: id, exec: 'x', way } })
    memory.write(run, id, [
      ...(stdout === '' ? [] : [{ stream: 'stdout' as const, text: stdout }]),
      ...(stderr === '' ? [] : [{ stream: 'stderr' as const, text: stderr }]),
    ])
    const count = { stdout: stdout.length, stderr: stderr.length, dropped, masked }
    if (ending !== undefined) memory.append(run, { type: 'ended', target: id, ending, count })
  }
  if (outcome !== undefined) memory.append(run, { type: 'finished', outcome })
  return run
}

export const ok: Ending = { status: 'exited', code: 0 }

/** All text that a reader sees in a layout, in order. */
export function textOf(blocks: unknown): string {
  if (Array.isArray(blocks)) return blocks.map(textOf).join('')
  if (typeof blocks !== 'object' || blocks === null) return ''
  const { type, text, elements, user_id, channel_id, usergroup_id } = blocks as Record<string, unknown>
  if (type === 'user') return `<@${String(user_id)}>`
  if (type === 'usergroup') return `<!subteam^${String(usergroup_id)}>`
  if (type === 'channel') return `<#${String(channel_id)}>`
  if (typeof text === 'string') return text
  return `${textOf(text)}${textOf(elements)}${type === 'rich_text' || type === 'actions' ? '\n' : ''}`
}

export function seen(message: { readonly blocks?: readonly unknown[] } | undefined): string {
  return textOf(message?.blocks ?? [])
}

/** Delivers the run as it is now, and keeps what was posted in its history. */
export async function deliver(bench: Bench, run: RunId): Promise<void> {
  const state = bench.memory.state(run)
  if (state === undefined) throw new Error('no such run')
  await bench.reporter.deliver(state, bench.memory.outputOf(run), async ({ part, ref }) => {
    bench.memory.append(run, { type: 'posted', part, ref })
  })
}

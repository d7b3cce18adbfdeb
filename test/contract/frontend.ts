/** What every frontend owes the core: each trigger is one request, and each run is answered once, whole and truthfully. */

import { expect, test } from 'vitest'
import type {
  Ending,
  Outcome,
  OutputChunk,
  RunEvent,
  RunId,
  RunRequest,
  RunState,
  Target,
  TargetId,
} from '../../src/core/model.ts'
import type { PostedPart, Reporter } from '../../src/core/ports.ts'
import { reduce } from '../../src/core/run-state.ts'

export type FrontendUnderTest = {
  readonly reporter: Reporter
  /** Someone asks for `uptime` on `label=web` the way people do there; resolves when the frontend has answered the trigger. */
  ask(): Promise<{ readonly again: () => Promise<void> }>
  /** What the gateway was given so far. */
  submitted(): readonly RunRequest[]
  /** Everything that readers can see by now, as plain text; what only the asker sees apart. */
  shown(): Promise<{ readonly everybody: string; readonly asker: string }>
  /** How many separate messages and files readers can see. */
  count(): Promise<number>
  /** The next post is lost on its way. */
  losePost(): void
  close(): Promise<void>
}

const target = (name: string): Target => ({
  id: `prod/${name}` as TargetId,
  backend: 'prod',
  kind: 'docker',
  native: name,
  name,
  labels: {},
  facets: {},
})
const limit = { code: 'interrupted', message: 'drover was stopped.' } as const
const ok: Ending = { status: 'exited', code: 0 }

/** `traits.refusalsArePrivate`: a refusal is for the asker alone. */
export function frontendContract(
  name: string,
  start: () => Promise<FrontendUnderTest>,
  traits: { readonly refusalsArePrivate: boolean },
): void {
  async function withFrontend(story: (under: FrontendUnderTest, request: RunRequest) => Promise<void>): Promise<void> {
    const under = await start()
    try {
      await under.ask()
      const [request] = under.submitted()
      if (request === undefined) throw new Error('nothing was submitted')
      await story(under, request)
    } finally {
      await under.close()
    }
  }

  function run(request: RunRequest, told: readonly (readonly [string, Ending | undefined, string])[], outcome: Outcome) {
    const events: RunEvent[] = [
      { type: 'accepted', request },
      { type: 'resolved', targets: told.map(([one]) => target(one)) },
      { type: 'decided', decision: { effect: 'allow', rule: 'r', limits: {} }, policy: 'p', timeoutMs: 1000 },
    ]
    const output = new Map<TargetId, readonly OutputChunk[]>()
    for (const [one, ending, text] of told) {
      const { id } = target(one)
      output.set(id, [{ stream: 'stdout', text }])
      events.push({ type: 'started', target: id, owner: 'o' as never })
      if (ending)
        events.push({ type: 'ended', target: id, ending, count: { stdout: text.length, stderr: 0, dropped: 0, masked: 0 } })
    }
    events.push({ type: 'finished', outcome })
    const state = (): RunState => reduce(events.map((event, seq) => ({ seq: seq + 1, at: seq, hash: '', event })))!
    const keep = async ({ part, ref }: PostedPart) => void events.push({ type: 'posted', part, ref })
    return { state, keep, events, read: async (id: TargetId) => output.get(id) ?? [] }
  }

  test(`${name}: a trigger becomes one request, plain JSON, with an id, an actor and a place`, async () => {
    await withFrontend(async (under, request) => {
      expect(JSON.parse(JSON.stringify(request))).toEqual(request)
      expect(request.id).toMatch(/^r[a-z2-7]{15}$/)
      expect(request.command.argv).toEqual(['uptime'])
      expect(under.submitted()).toHaveLength(1)
    })
  })

  test(`[once] ${name}: a trigger that is delivered again is the same run`, async () => {
    const under = await start()
    try {
      const { again } = await under.ask()
      await again()
      expect(new Set(under.submitted().map(({ id }): RunId => id)).size).toBe(1)
    } finally {
      await under.close()
    }
  })

  test(`${name}: a finished run shows every target, every ending and its output`, async () => {
    await withFrontend(async ({ reporter, shown }, request) => {
      const one = run(
        request,
        [
          ['web-1', ok, 'up 1 day\n'],
          ['web-2', { status: 'exited', code: 3 }, 'no\n'],
        ],
        { status: 'done' },
      )
      await reporter.deliver(one.state(), one.read, one.keep)
      const { everybody } = await shown()
      for (const text of ['web-1', 'web-2', 'up 1 day', 'exit 3', request.id]) expect(everybody).toContain(text)
    })
  })

  test(`${name}: delivering twice shows everything once`, async () => {
    await withFrontend(async ({ reporter, count }, request) => {
      const one = run(request, [['web-1', ok, 'up\n']], { status: 'done' })
      await reporter.deliver(one.state(), one.read, one.keep)
      const before = await count()
      await reporter.deliver(one.state(), one.read, one.keep)
      expect(await count()).toBe(before)
    })
  })

  test(`${name}: progress and delivery share one parent`, async () => {
    await withFrontend(async ({ reporter, shown, count }, request) => {
      const one = run(request, [['web-1', ok, 'up\n']], { status: 'done' })
      const finished = one.events.splice(-2)
      for (const part of await reporter.progress(one.state())) await one.keep(part)
      expect(await count()).toBe(1)
      one.events.push(...finished)
      await reporter.deliver(one.state(), one.read, one.keep)
      const { everybody } = await shown()
      expect(everybody).not.toContain('Running')
    })
  })

  test(`[true-ending] ${name}: an interrupted run and an unknown ending never look like success`, async () => {
    await withFrontend(async ({ reporter, shown }, request) => {
      const one = run(request, [['web-1', undefined, 'half']], { status: 'interrupted', failure: limit })
      await reporter.deliver(one.state(), one.read, one.keep)
      const { everybody } = await shown()
      expect(everybody).toContain('nterrupted')
      expect(everybody).toContain('unknown')
      expect(everybody).not.toMatch(/✅|1 of 1 ok/)
    })
  })

  test(`${name}: a refusal says why and what to do next, and runs nothing`, async () => {
    await withFrontend(async ({ reporter, shown }, request) => {
      const failure = { code: 'denied', message: 'No rule allows this.', next: 'Ask the owner.' } as const
      const one = run(request, [], { status: 'refused', failure })
      one.events.splice(1, 2, { type: 'decided', decision: { effect: 'deny', failure }, policy: 'p' })
      await reporter.deliver(one.state(), one.read, one.keep)
      const { everybody, asker } = await shown()
      expect(everybody + asker).toContain('No rule allows this.')
      expect(everybody + asker).toContain('Ask the owner.')
      if (traits.refusalsArePrivate) expect(everybody).not.toContain('No rule allows this.')
    })
  })

  test(`[nothing-lost] ${name}: an answer that cannot be delivered is reply_failed, and delivering again completes it`, async () => {
    await withFrontend(async ({ reporter, shown, losePost }, request) => {
      const one = run(request, [['web-1', ok, 'up 1 day\n']], { status: 'done' })
      losePost()
      await expect(reporter.deliver(one.state(), one.read, one.keep)).rejects.toMatchObject({ code: 'reply_failed' })
      await reporter.deliver(one.state(), one.read, one.keep)
      expect((await shown()).everybody).toContain('up 1 day')
    })
  })
}

/** What every ledger must do, whatever it is stored in. */

import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { Actor, Ending, Owner, RunId } from '../../src/core/model.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { ada, ended, ops, output, request, target } from './ledger-words.ts'

export type LedgerBench = {
  readonly ledger: Ledger
  /** The same store under a new ledger, as after a restart. */
  reopen(): Promise<Ledger>
  /** Changes the rows behind the ledger's back. */
  tamper(sql: string): Promise<void>
  /** Moves the ledger's clock, which otherwise stands still. */
  advance(ms: number): Promise<void>
  close(): Promise<void>
}

const me = 'owner-1' as Owner
const one = target('1i1').id

/** A finished and delivered run, one that is under way, and one refused. */
async function story(ledger: Ledger): Promise<{ done: RunId; open: RunId; refused: RunId }> {
  const [done, open, refused] = ['r-done', 'r-open', 'r-refused'] as [RunId, RunId, RunId]
  for (const run of [done, open]) {
    await ledger.accept(request(run))
    await ledger.append(run, { type: 'resolved', targets: [target('1i1'), target('1i2')] })
    await ledger.append(run, { type: 'decided', decision: { effect: 'allow', rule: 'all', limits: {} }, policy: 'p1' })
    await ledger.claim(run, one, me)
    await ledger.append(run, output('1i1', 0, 'up 3 days\n'))
    await ledger.append(run, output('1i1', 1, 'load 0.10\n'))
    await ledger.append(run, ended('1i1'))
  }
  await ledger.append(done, ended('1i2', { status: 'failed', error: { code: 'not_started', message: 'cancelled' } }))
  await ledger.append(done, { type: 'finished', outcome: { status: 'done' } })
  await ledger.append(done, { type: 'posted', part: 'parent', ref: '1.3' })
  await ledger.append(done, { type: 'delivered' })
  await ledger.accept(request(refused, { receivedAt: 2_000 }))
  const failure = { code: 'denied', message: 'no rule allows it' } as const
  await ledger.append(refused, { type: 'decided', decision: { effect: 'deny', failure }, policy: 'p1' })
  await ledger.append(refused, { type: 'finished', outcome: { status: 'refused', failure } })
  return { done, open, refused }
}

export function ledgerContract(name: string, open: () => Promise<LedgerBench>): void {
  describe(name, { timeout: 30_000 }, () => {
    const benches: LedgerBench[] = []
    const opened = async (): Promise<LedgerBench> => {
      const bench = await open()
      benches.push(bench)
      return bench
    }
    afterEach(async () => {
      await Promise.all(benches.splice(0).map((bench) => bench.close()))
    })

    describe('accept', () => {
      test('[once] S25 one delivery, however often and whenever it comes again, is accepted once', async () => {
        const bench = await opened()
        const answers = await Promise.all(Array.from({ length: 12 }, () => bench.ledger.accept(request('r1'))))
        expect(answers.filter((answer) => answer === 'accepted')).toHaveLength(1)
        await bench.advance(24 * 3_600_000)
        const again = await bench.reopen()
        expect(await again.accept(request('r1', { receivedAt: 9_000 }))).toBe('duplicate')
        expect(await again.read('r1' as RunId)).toHaveLength(1)
      })

      test('[recorded-first] the request is there whole, as its first event, after a restart', async () => {
        const bench = await opened()
        const asked = request('r1', {
          command: { argv: ['sh', '-c', 'echo "é \u0000 😀 \ud800"'], env: { A: '?' } },
          typed: "it's",
        })
        await bench.ledger.accept(asked)
        const [first] = await (await bench.reopen()).read('r1' as RunId)
        expect(first).toMatchObject({ seq: 1, event: { type: 'accepted', request: asked } })
      })

      test('a run that was never accepted has no events and takes none', async () => {
        const { ledger } = await opened()
        expect(await ledger.read('r9' as RunId)).toEqual([])
        await expect(ledger.append('r9' as RunId, { type: 'delivered' })).rejects.toMatchObject({ code: 'not_found' })
      })
    })

    describe('append', () => {
      test('events asked for at once are numbered without a gap, and each is told its own number', async () => {
        const { ledger } = await opened()
        await ledger.accept(request('r1'))
        const parts = Array.from({ length: 20 }, (_, n) => `part-${n}`)
        const numbers = await Promise.all(parts.map((part) => ledger.append('r1' as RunId, { type: 'posted', part, ref: 'x' })))
        expect([...numbers].sort((a, b) => a - b)).toEqual(parts.map((_, n) => n + 2))
        const events = await ledger.read('r1' as RunId)
        expect(events.map(({ seq }) => seq)).toEqual(events.map((_, n) => n + 1))
        for (const [n, part] of parts.entries()) expect(events[(numbers[n] ?? 0) - 1]?.event).toMatchObject({ part })
        expect(await ledger.verify()).toMatchObject({ ok: true, events: 21 })
      })

      test('[true-ending] a target ends once, a run finishes once, and nothing is added to a finished execution', async () => {
        const { ledger } = await opened()
        const { done } = await story(ledger)
        const before = await ledger.read(done)
        const run = 'r2' as RunId
        await ledger.accept(request(run))
        await ledger.append(run, { type: 'resolved', targets: [target('1i1')] })
        await ledger.append(run, ended('1i1'))
        await expect(ledger.append(run, ended('1i1', { status: 'cancelled' }))).rejects.toThrow('already')
        for (const event of [
          ended('1i1'),
          output('1i1', 2, 'late'),
          { type: 'finished', outcome: { status: 'done' } } as const,
        ]) {
          await expect(ledger.append(done, event)).rejects.toThrow('is finished')
        }
        expect(await ledger.read(done)).toEqual(before)
        expect(await ledger.verify()).toMatchObject({ ok: true })
      })

      test('[recorded-first] a write that fails half way leaves nothing, and the same event can be written afterwards', async () => {
        const bench = await opened()
        const run = 'r1' as RunId
        await bench.ledger.accept(request(run))
        const before = await bench.ledger.read(run)
        await bench.tamper(`insert into part (run, seq, n, data) values ('r1', 2, 0, '')`)
        await expect(bench.ledger.append(run, output('1i1', 0, 'text'))).rejects.toThrow()
        expect(await bench.ledger.read(run)).toEqual(before)
        await bench.tamper(`delete from part where run = 'r1'`)
        expect(await bench.ledger.append(run, output('1i1', 0, 'text'))).toBe(2)
        expect(await bench.ledger.verify()).toMatchObject({ ok: true, events: 2 })
      })

      test('[recorded-first] events that are asked for as one are numbered in a row, or none of them is kept', async () => {
        const { ledger } = await opened()
        const run = 'r1' as RunId
        const finished = { type: 'finished', outcome: { status: 'done' } } as const
        await ledger.accept(request(run))
        const decided = { type: 'decided', decision: { effect: 'allow', rule: 'all', limits: {} }, policy: 'p1' } as const
        expect(await ledger.append(run, { type: 'resolved', targets: [target('1i1'), target('1i2')] }, decided)).toBe(3)
        await ledger.append(run, ended('1i1'))
        const before = await ledger.read(run)
        // The second of them has its event already.
        await expect(ledger.append(run, output('1i2', 0, 'text'), ended('1i1'), finished)).rejects.toThrow('already')
        await expect(ledger.append(run, finished, ended('1i2'))).rejects.toThrow('last')
        expect(await ledger.read(run)).toEqual(before)
        expect(await ledger.output(run, target('1i2').id)).toEqual([])
        expect(await ledger.append(run, output('1i2', 0, 'text'), ended('1i2'), finished)).toBe(7)
        const posted = { type: 'posted', part: 'parent', ref: '1.3' } as const
        await expect(ledger.append(run, posted, { type: 'delivered' })).rejects.toThrow('is finished')
        expect(await ledger.append(run, posted)).toBe(8)
        expect((await ledger.list({ limit: 1 }))[0]).toMatchObject({ status: 'finished', outcome: 'done', succeeded: 2 })
        expect(await ledger.verify()).toMatchObject({ ok: true, events: 8 })
      })

      test('[bounded] an event with thousands of targets is kept and comes back whole', async () => {
        const bench = await opened()
        const labels = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`label-${n}`, 'v'.repeat(40)]))
        const targets = Array.from({ length: 2000 }, (_, n) => ({ ...target(`1i${n}`), labels }))
        await bench.ledger.accept(request('r1'))
        await bench.ledger.append('r1' as RunId, { type: 'resolved', targets })
        const again = await bench.reopen()
        const [, resolved] = await again.read('r1' as RunId)
        expect(resolved?.event).toEqual({ type: 'resolved', targets })
        expect(await again.claim('r1' as RunId, target('1i1999').id, me)).toBe(true)
        expect((await again.list({ limit: 1 }))[0]).toMatchObject({ targets: 2000 })
      })
    })

    describe('claim', () => {
      const ready = async (ledger: Ledger, ...natives: string[]): Promise<RunId> => {
        await ledger.accept(request('r1'))
        await ledger.append('r1' as RunId, { type: 'resolved', targets: natives.map(target) })
        return 'r1' as RunId
      }

      test('[once] a target is started once; its event is there before the claim resolves, and a restart changes nothing', async () => {
        const bench = await opened()
        const run = await ready(bench.ledger, '1i1')
        expect(await bench.ledger.claim(run, one, me)).toBe(true)
        expect(await bench.ledger.claim(run, one, me)).toBe(false)
        const again = await bench.reopen()
        expect(await again.claim(run, one, 'owner-2' as Owner)).toBe(false)
        const events = (await again.read(run)).map(({ event }) => event)
        expect(events.filter(({ type }) => type === 'started')).toEqual([{ type: 'started', target: one, owner: me }])
        expect(await again.verify()).toMatchObject({ ok: true })
      })

      test('[once] in any interleaving of claims every target has one winner and one event', async () => {
        const plan = fc.array(fc.tuple(fc.nat(3), fc.nat(2)), { minLength: 1, maxLength: 24 })
        const { ledger } = await opened()
        let number = 0
        await fc.assert(
          fc.asyncProperty(plan, async (claims) => {
            const run = `r${number++}` as RunId
            await ledger.accept(request(run))
            await ledger.append(run, { type: 'resolved', targets: [0, 1, 2].map((n) => target(`1i${n}`)) })
            const won = await Promise.all(
              claims.map(([owner, native]) => ledger.claim(run, target(`1i${native}`).id, `owner-${owner}` as Owner)),
            )
            const winners = claims.filter((_, n) => won[n]).map(([owner, native]) => [`prod/1i${native}`, `owner-${owner}`])
            const meant = new Set(claims.map(([, native]) => `prod/1i${native}`))
            const started = (await ledger.read(run)).flatMap(({ event }) => (event.type === 'started' ? [event] : []))
            expect(started.map((event) => [event.target, event.owner])).toEqual(winners)
            expect(new Set(winners.map(([id]) => id))).toEqual(meant)
            expect(winners).toHaveLength(meant.size)
          }),
          { numRuns: 12 },
        )
        expect(await ledger.verify()).toMatchObject({ ok: true })
      })

      test('[once] what ended before its turn, is unknown, or belongs to a finished run is never started', async () => {
        const { ledger } = await opened()
        const run = await ready(ledger, '1i1', '1i2')
        await ledger.append(run, ended('1i1', { status: 'failed', error: { code: 'not_started', message: 'cancelled' } }))
        expect(await ledger.claim(run, one, me)).toBe(false)
        expect(await ledger.claim(run, target('1i3').id, me)).toBe(false)
        await ledger.append(run, { type: 'finished', outcome: { status: 'cancelled' } })
        expect(await ledger.claim(run, target('1i2').id, me)).toBe(false)
        expect((await ledger.read(run)).filter(({ event }) => event.type === 'started')).toEqual([])
      })
    })

    describe('output', () => {
      test('payloads of any size come back as they were', async () => {
        const bench = await opened()
        const run = 'r3' as RunId
        await bench.ledger.accept(request(run))
        const sizes = [4_000, 16_000, 40_000, 65_500, 65_536, 66_000, 131_100, 200_000, 600_000]
        for (const [index, size] of sizes.entries()) await bench.ledger.append(run, output('1i1', index, 'x'.repeat(size)))
        const chunks = await bench.ledger.output(run, target('1i1').id)
        expect(chunks.map(({ text }) => text.length)).toEqual(sizes)
      })

      test('[stored-once] what a target wrote comes back in order, character for character, after a restart', async () => {
        const bench = await opened()
        const { done } = await story(bench.ledger)
        const run = 'r2' as RunId
        await bench.ledger.accept(request(run))
        const big = Array.from({ length: 60_000 }, (_, n) => (n * 7919).toString(36)).join(' ')
        const texts = ['\ufeffé 😀 \u0000 \u001b[31m', big, '', 'x'.repeat(2_000_000)]
        for (const index of [2, 0, 3, 1]) await bench.ledger.append(run, output('1i1', index, texts[index] ?? ''))
        const again = await bench.reopen()
        expect(await again.output(run, one)).toEqual(texts.map((text) => ({ stream: 'stdout', text })))
        expect(await again.output(run, target('1i2').id)).toEqual([])
        expect(await again.output(done, one)).toEqual([
          { stream: 'stdout', text: 'up 3 days\n' },
          { stream: 'stdout', text: 'load 0.10\n' },
        ])
        expect(await again.verify()).toMatchObject({ ok: true })
      })

      test('reading a run leaves the chunks out; a chunk with a number that is taken is refused', async () => {
        const { ledger } = await opened()
        const { open: run } = await story(ledger)
        const outputs = (await ledger.read(run)).filter(({ event }) => event.type === 'output')
        expect(outputs.map(({ event }) => event)).toEqual(
          [0, 1].map((index) => ({ type: 'output', target: one, index, chunks: [] })),
        )
        await expect(ledger.append(run, output('1i1', 1, 'again'))).rejects.toThrow('already')
      })
    })

    describe('list, due', () => {
      test('S39 runs are listed newest first with who, where, what and how it went, refusals too', async () => {
        const { ledger } = await opened()
        const { refused, done, open: underWay } = await story(ledger)
        const other: Actor = { kind: 'cli', user: 'U1' }
        await ledger.accept(request('r-cli', { receivedAt: 3_000, actor: other, place: { kind: 'terminal' } }))
        const all = await ledger.list({ limit: 10 })
        expect(all.map(({ id }) => id)).toEqual(['r-cli', refused, underWay, done])
        expect(all[1]).toMatchObject({ status: 'finished', outcome: 'refused', targets: 0, succeeded: 0 })
        expect(all[3]).toEqual({
          ...{ id: done, at: 1_000, actor: ada, place: ops, argv: ['uptime', '-p'] },
          ...{ status: 'finished', outcome: 'done', targets: 2, succeeded: 1, others: { 'did not run': 1 } },
        })
        expect(all[2]).toMatchObject({ status: 'running', targets: 2, succeeded: 1 })
        expect(all[2]).not.toHaveProperty('outcome')
        const ids = async (more: object) => (await ledger.list({ limit: 10, ...more })).map(({ id }) => id)
        expect(await ids({ actor: other })).toEqual(['r-cli'])
        expect(await ids({ place: { kind: 'slack', team: 'T1', channel: 'C1' } })).toEqual([refused, underWay, done])
        expect(await ids({ place: { kind: 'slack', team: 'T2', channel: 'C1' } })).toEqual([])
        expect(await ids({ before: 2_000, limit: 1 })).toEqual([underWay])
      })

      test('[true-ending] a list says of a finished run how those ended that did not succeed', async () => {
        const { ledger } = await opened()
        const run = 'r-mixed' as RunId
        const error = { code: 'stream_broken', message: 'x' } as const
        const endings: readonly Ending[] = [
          { status: 'exited', code: 0 },
          { status: 'exited', code: 3 },
          { status: 'unknown', error },
          { status: 'unknown', error, left: { pid: 7 } },
          { status: 'timed_out' },
          { status: 'timed_out', left: { pid: 8 } },
          { status: 'cancelled' },
          { status: 'failed', error },
        ]
        await ledger.accept(request(run))
        await ledger.append(run, { type: 'resolved', targets: endings.map((_, i) => target(`1i${i}`)) })
        for (const [i, ending] of endings.entries()) await ledger.append(run, ended(`1i${i}`, ending))
        expect((await ledger.list({ limit: 1 }))[0]).not.toHaveProperty('others')
        await ledger.append(run, { type: 'finished', outcome: { status: 'done' } })
        expect((await ledger.list({ limit: 1 }))[0]).toMatchObject({
          ...{ targets: 8, succeeded: 1 },
          others: {
            ...{ 'exited 3': 1, 'outcome unknown': 2, 'timed out, proved gone': 1, 'timed out and still running': 1 },
            ...{ 'cancelled, proved gone': 1, 'did not run': 1 },
          },
        })
      })

      test('[nothing-lost] what is not delivered is owed, oldest first, after a restart too; a postponed one only at its time', async () => {
        const bench = await opened()
        const { refused, open: underWay } = await story(bench.ledger)
        const later = Date.now() + 3_600_000
        await bench.ledger.accept(request('a-newest', { receivedAt: 3_000 }))
        expect(await bench.ledger.due(later, 10)).toEqual([underWay, refused, 'a-newest'])
        await bench.ledger.append('a-newest' as RunId, { type: 'delivered' })
        expect(await bench.ledger.due(later, 1)).toEqual([underWay])
        await bench.ledger.postpone(underWay, later + 5)
        const again = await bench.reopen()
        expect(await again.due(later, 10)).toEqual([refused])
        expect(await again.due(later + 5, 10)).toEqual([underWay, refused])
        await again.append(refused, { type: 'delivered' })
        expect(await again.due(later + 5, 10)).toEqual([underWay])
      })
    })

    test('[once] S25 a key is new once within its time, across restarts, however many ask at once', async () => {
      const bench = await opened()
      const answers = await Promise.all(Array.from({ length: 8 }, () => bench.ledger.firstTime('click-1', 600_000)))
      expect(answers.filter(Boolean)).toHaveLength(1)
      await bench.advance(599_999)
      const again = await bench.reopen()
      expect(await again.firstTime('click-1', 600_000)).toBe(false)
      expect(await again.firstTime('click-2', 600_000)).toBe(true)
      await bench.advance(1)
      expect(await again.firstTime('click-1', 600_000)).toBe(true)
    })

    describe('verify', () => {
      test('an untouched ledger proves itself; the head moves with every run that finishes or is delivered', async () => {
        const bench = await opened()
        const empty = await bench.ledger.verify()
        expect(empty).toMatchObject({ ok: true, runs: 0, events: 0 })
        const { open: run } = await story(bench.ledger)
        const heads = [empty, await bench.ledger.verify()]
        await bench.ledger.append(run, { type: 'finished', outcome: { status: 'cancelled' } })
        heads.push(await bench.ledger.verify())
        await bench.ledger.append(run, { type: 'delivered' })
        heads.push(await (await bench.reopen()).verify())
        expect(heads.map(({ ok }) => ok)).toEqual([true, true, true, true])
        expect(new Set(heads.map((report) => 'head' in report && report.head)).size).toBe(4)
        expect(heads.at(-1)).toMatchObject({ runs: 3, events: 23 })
      })

      const ofDone = "run = 'r-done'"
      const breaks: readonly [string, string, RegExp][] = [
        ['a changed event', `update event set body = replace(body, 'uptime', 'reboot') where ${ofDone}`, /event 1 of run r-done/],
        ['a changed time', `update event set at = at - 1 where ${ofDone} and seq = 3`, /event 3 of run r-done/],
        [
          'a changed event of a run under way',
          `update event set body = replace(body, '"all"', '"ops"') where run = 'r-open'`,
          /r-open/,
        ],
        ['a column that says otherwise', `update event set idx = 7 where ${ofDone} and idx = 1`, /columns of event 6/],
        [
          'exchanged output',
          `update part set data = (select data from part where ${ofDone} and seq = 6) where ${ofDone} and seq = 5`,
          /payload of event 5/,
        ],
        [
          'output short of one byte',
          `update part set data = substr(data, 1, length(data) - 1) where ${ofDone} and seq = 5`,
          /payload of event 5/,
        ],
        ['lost output', `delete from part where ${ofDone} and seq = 5`, /payload of event 5/],
        ['a lost event', `delete from event where ${ofDone} and seq = 4`, /event 4 of run r-done is missing/],
        ['a lost last event', `delete from event where run = 'r-open' and seq = 7`, /event 7 of run r-open is missing/],
        [
          'a lost last event, with the row made to fit',
          `delete from event where ${ofDone} and seq = 11; update run set delivered = 0, seq = 10, head = (select hash from event where ${ofDone} and seq = 10) where id = 'r-done'`,
          /chain seals event 11 of run r-done/,
        ],
        [
          'an event put in',
          `insert into event select run, 8, at, type, target, idx, null, body, hash from event where run = 'r-open' and seq = 7`,
          /event 8 of run r-open was never recorded/,
        ],
        [
          'swapped runs',
          `update event set run = 'x' where ${ofDone}; update event set run = 'r-done' where run = 'r-open'; update event set run = 'r-open' where run = 'x'`,
          /event 1 of run r-done is not what was recorded/,
        ],
        [
          'swapped links',
          `update link set n = -1 where n = 1; update link set n = 1 where n = 2; update link set n = 2 where n = -1`,
          /r-done/,
        ],
        ['a changed link', `update link set prev = hash where n = 2`, /link 2/],
        ['a changed last link', `update link set hash = prev where n = 4`, /link 4/],
        ['a changed last hash', `update run set head = '0' where id = 'r-open'`, /last hash of run r-open/],
        [
          'a run lost with its rows and its links',
          `delete from run where id = 'r-done'; delete from event where ${ofDone}; delete from part where ${ofDone}; delete from target where ${ofDone}; delete from link where ${ofDone}`,
          /link 1 of the ledger’s chain is missing/,
        ],
        [
          'events of no run',
          `insert into event select 'ghost', seq, at, type, target, idx, once, body, hash from event where ${ofDone}`,
          /run ghost has events/,
        ],
        ['targets of no run', `insert into target (run, id) values ('ghost', 'prod/1i1')`, /run ghost has targets/],
        ['a payload of no event', `insert into part (run, seq, n, data) values ('r-done', 99, 0, '')`, /payload for event 99/],
        ['a lost link', `delete from link where n = 4`, /event 3 of run r-refused is not sealed/],
        ['a lost run', `delete from run where id = 'r-open'`, /run r-open/],
        [
          'a run lost with all its rows',
          `delete from run where id = 'r-done'; delete from event where ${ofDone}; delete from part where ${ofDone}; delete from target where ${ofDone}`,
          /run r-done is in the ledger/,
        ],
        [
          'a target made startable again',
          `update target set state = 'pending' where run = 'r-open' and id = 'prod/1i1'`,
          /target prod\/1i1 of run r-open/,
        ],
        ['a lost target', `delete from target where run = 'r-open' and id = 'prod/1i2'`, /r-open/],
        ['a run made to look successful', `update run set outcome = 'done' where id = 'r-refused'`, /'outcome' of run r-refused/],
        ['another place', `update run set place_key = 'x' where id = 'r-refused'`, /'place_key' of run r-refused/],
      ]
      test.each(breaks)('%s is found and named', async (_, sql, problem) => {
        const bench = await opened()
        await story(bench.ledger)
        for (const statement of sql.split('; ')) await bench.tamper(statement)
        const report = await bench.ledger.verify()
        expect(report).toMatchObject({ ok: false, problem: expect.stringMatching(problem) })
      })

      test('damaged output is refused to its reader, not shown', async () => {
        const bench = await opened()
        const { done } = await story(bench.ledger)
        await bench.tamper(`delete from part where ${ofDone} and seq = 5`)
        await expect(bench.ledger.output(done, one)).rejects.toMatchObject({ code: 'ledger_unavailable' })
      })
    })
  })
}

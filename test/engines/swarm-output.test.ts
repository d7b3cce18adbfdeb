/** What goes through a temporary service and what comes back, on a real swarm of two. */

import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Command, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { failureOf, newExec, runOn } from '../contract/backend.ts'
import {
  bareOn,
  byMap,
  byService,
  mark,
  processesIn,
  shopOf,
  soon,
  swarmWorld,
  taskOf,
  temporaryService,
  workerHost,
} from './swarm-world.ts'

describe('a temporary service: input and output', { timeout: 180_000 }, () => {
  const world = swarmWorld()
  const serviced = byService()
  let web: Target
  let bare: Target
  beforeAll(async () => {
    ;({ web } = await shopOf(world))
    bare = await taskOf(serviced, await world.serve('bare', 'worker', [], bareOn(workerHost)))
  })
  afterAll(() => world.tearDown())
  const run = (command: Command, target = web, on: Backend = serviced) => runOn(on, target, command, soon())
  const sh = (text: string, more: Partial<Command> = {}, on = serviced) =>
    run({ argv: ['/bin/sh', '-c', text], ...more }, web, on)

  test('[true-ending] S38 5 MB of random bytes arrive exactly', async () => {
    const ran = await sh('head -c 5000000 /dev/urandom >/tmp/r; md5sum </tmp/r >&2; cat /tmp/r; rm /tmp/r')
    expect([ran.out.length, ran.code]).toEqual([5_000_000, 0])
    expect(createHash('md5').update(ran.out).digest('hex')).toBe(`${ran.err}`.slice(0, 32))
  })

  test('S38 a long line, empty lines, and lines of both streams arrive whole, in order, once', async () => {
    const ran = await sh(
      'head -c 300000 /dev/zero | tr "\\0" x; for i in $(seq 3000); do echo; echo $i; [ $((i % 3)) = 0 ] && echo e$i >&2; done; printf end',
    )
    const lines = Array.from({ length: 3000 }, (_, i) => `\n${i + 1}\n`).join('')
    expect(`${ran.out}` === `${'x'.repeat(300_000)}${lines}end`).toBe(true)
    expect(`${ran.err}`).toBe(Array.from({ length: 1000 }, (_, i) => `e${3 * (i + 1)}\n`).join(''))
  })

  test('[bounded] many lines come while they are written, and at the end every one was there once', async () => {
    const ran = await sh('i=0; while [ $i -lt 40 ]; do seq $((i * 1000)) $((i * 1000 + 999)); i=$((i + 1)); sleep 0.05; done')
    expect(`${ran.out}` === Array.from({ length: 40_000 }, (_, i) => `${i}\n`).join('')).toBe(true)
    expect(ran.events.filter(({ type }) => type === 'output').length).toBeGreaterThan(3)
  })

  test('[true-ending] [bounded] a log that is longer than there is time for makes no timeout of a command that has ended', async () => {
    const events = serviced.exec(web, { argv: ['/bin/sh', '-c', 'seq 300000; exit 3'] }, newExec(), soon(), undefined, 6_000)
    let [err, lines, code] = ['', 0, -1]
    for await (const event of events) {
      if (event.type === 'exit') code = event.code
      if (event.type !== 'output') continue
      if (event.stream === 'stderr') err += Buffer.from(event.data)
      else lines += Buffer.from(event.data).filter((byte) => byte === 10).length
    }
    expect([code, err]).toEqual([3, expect.stringContaining('more than could be read in its time')])
    expect(lines).toBeGreaterThan(1_000)
  })

  test('[exact-argv] S06 what looks like a template of the swarm is an argument like any other', async () => {
    const words = ['{{.Node.ID}}', '{{.Task.Name}}', '{{', '-e', '--', '$x', '--help']
    expect(`${(await run({ argv: ['printf', '%s\\n', ...words], env: { A: '{{.Node.Hostname}}' } })).out}`).toBe(
      `${words.join('\n')}\n`,
    )
    expect(`${(await sh('printf %s "$A"', { env: { A: '{{.Node.Hostname}}' } })).out}`).toBe('{{.Node.Hostname}}')
  })

  test('a chosen user is who runs it, and the kill looks as that user', async () => {
    expect(`${(await run({ argv: ['id', '-u'], user: 'nobody' })).out}`).toBe('65534\n')
    const own = mark()
    const connection = new AbortController()
    const events = serviced.exec(
      web,
      { argv: ['/bin/sh', '-c', `echo go; setsid sleep ${own} & sleep ${own}`], user: 'nobody' },
      newExec(),
      connection.signal,
    )
    for await (const event of events) {
      if (event.type !== 'started') continue
      expect(event.handle.exec).toMatch(/\/nobody$/)
      await expect.poll(() => processesIn(web, `sleep ${own}`).length).toBeGreaterThan(1)
      // What began by a service ends by one, although the nodes map would be preferred.
      expect(await byMap({ temporaryService }).kill(web, event.handle, soon())).toEqual({ result: 'gone' })
      break
    }
    expect(processesIn(web, own)).toEqual([])
  })

  test('stdin is small and arrives whole; what is larger, or has no base64 to come by, is refused with the way that takes it', async () => {
    const stdin = `${'äöü\n'.repeat(9_000)}{{.Node.ID}} $x "'`
    const ran = await sh('cat; env >&2; exit 3', { stdin })
    expect([`${ran.out}` === stdin, ran.code]).toEqual([true, 3])
    expect(`${ran.err}`).not.toContain('DROVER_STDIN')
    expect((await run({ argv: ['cat'], stdin: '' })).out.length).toBe(0)
    for (const [target, text] of [
      [web, 'x'.repeat(64 * 1024 + 1)],
      [bare, 'x'],
    ] as const) {
      const failure = await failureOf(run({ argv: ['echo', 'ran'], stdin: text }, target))
      expect([failure.code, failure.ran]).toEqual(['unsupported', 'no'])
      expect(failure.next).toContain('nodes:')
    }
  })

  test('sixteen at once all tell their own output and code', async () => {
    const ran = await Promise.all(Array.from({ length: 16 }, (_, i) => sh(`echo ${i}; echo e${i} >&2; exit ${i}`)))
    expect(ran.map(({ out, err, code }) => `${out}${err}${code}`)).toEqual(ran.map((_, i) => `${i}\ne${i}\n${i}`))
  })
})

/** What every backend must do, tried on whatever engine a fixture brings; what a backend cannot do its traits say, and then it must refuse. */

import { createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BackendError } from '../../src/core/errors.ts'
import type { Argv, Command, ExecEvent, ExecHandle, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'

export type BackendFixture = {
  readonly backend: Backend
  /** Has `sh` and the usual small programs of busybox. */
  readonly target: Target
  /** Has no shell and nothing else. */
  readonly bare?: Target
  /** Listed a moment ago, not running now. */
  readonly stopped?: Target
  /** Command lines of live processes inside that hold the needle. */
  processesInside(target: Target, needle: string): Promise<readonly string[]>
  /** Connections to the engine that are open now. */
  openConnections?(): number
  /** From now on connections break after this many bytes of output; 0 ends that. */
  breakAfter?(bytes: number): void
  tearDown(): Promise<void>
}

export type Ran = {
  readonly out: Buffer
  readonly err: Buffer
  readonly code: number | undefined
  readonly unknown: boolean
  readonly handle: ExecHandle | undefined
  readonly events: readonly ExecEvent[]
}

export const newExec = (): string => randomBytes(16).toString('hex')

export async function runOn(
  backend: Backend,
  target: Target,
  command: Command,
  signal = AbortSignal.timeout(60_000),
): Promise<Ran> {
  const events: ExecEvent[] = []
  for await (const event of backend.exec(target, command, newExec(), signal)) events.push(event)
  const bytes = (stream: string) =>
    Buffer.concat(events.flatMap((e) => (e.type === 'output' && e.stream === stream ? [e.data] : [])))
  const exit = events.find((e) => e.type === 'exit')
  const started = events.find((e) => e.type === 'started')
  return {
    out: bytes('stdout'),
    err: bytes('stderr'),
    code: exit?.type === 'exit' ? exit.code : undefined,
    unknown: events.some((e) => e.type === 'exit-unknown'),
    handle: started?.type === 'started' ? started.handle : undefined,
    events,
  }
}

export async function failureOf(work: Promise<unknown>): Promise<BackendError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  )
  if (error instanceof BackendError) return error
  throw new Error(`expected a BackendError, got ${String(error)}`)
}

/** Starts a command, waits for its first output, and hands over the connection. */
export async function begin(backend: Backend, target: Target, argv: Argv) {
  const connection = new AbortController()
  const exec = newExec()
  const events = backend.exec(target, { argv }, exec, connection.signal)[Symbol.asyncIterator]()
  let handle: ExecHandle = { target: target.id, exec }
  for (;;) {
    const { value, done } = await events.next()
    if (done) throw new Error('it ended before it wrote anything')
    if (value.type === 'started') handle = value.handle
    if (value.type === 'output') return { handle, events, connection }
  }
}

/** A number of seconds to sleep that no other test uses: what a process list can be searched for. */
const newMark = (): string => `${600_000 + Math.floor(Math.random() * 300_000)}`

/** `timeoutMs`: for ways where each execution takes its second. */
export function backendContract(name: string, setUp: () => Promise<BackendFixture>, timeoutMs = 60_000): void {
  describe(`backend contract: ${name}`, { timeout: timeoutMs }, () => {
    let f: BackendFixture
    beforeAll(async () => {
      f = await setUp()
    })
    afterAll(async () => {
      await f.tearDown()
    })
    const run = (argv: Argv, options: Omit<Command, 'argv'> = {}) => runOn(f.backend, f.target, { argv, ...options })
    const sh = (text: string, options: Omit<Command, 'argv'> = {}) => run(['/bin/sh', '-c', text], options)

    test('S21 a target that was listed is still the very one, where its id could come again', async () => {
      expect((await f.backend.isStill?.(f.target, AbortSignal.timeout(30_000))) ?? true).toBe(true)
    })

    test('lists the target again, whole and as it was', async () => {
      const again = await f.backend.list({ name: f.target.name }, AbortSignal.timeout(30_000))
      expect(again.filter((one) => one.id === f.target.id)).toEqual([f.target])
    })

    test('says started first and the exit last, both once', async () => {
      const { events, handle } = await sh('echo hi')
      expect(events.find((e) => e.type !== 'connected')?.type).toBe('started')
      expect(events.at(-1)?.type).toBe('exit')
      expect(events.filter((e) => e.type === 'started' || e.type === 'exit')).toHaveLength(2)
      expect(handle?.target).toBe(f.target.id)
    })

    test('keeps stdout and stderr apart, and each as it was written', async () => {
      const ran = await sh('echo out; printf "err 1\\nerr 2" >&2; printf more')
      if (f.backend.traits.separateStderr) expect([`${ran.out}`, `${ran.err}`]).toEqual(['out\nmore', 'err 1\nerr 2'])
      else expect(`${ran.out}`).toContain('err 2')
    })

    test.each([0, 1, 3, 125, 126, 127, 255])('[true-ending] tells exit code %i', async (code) => {
      expect((await sh(`exit ${code}`)).code).toBe(code)
    })

    test('[true-ending] tells a command killed by a signal as 137', async () => {
      expect((await sh('kill -KILL $$')).code).toBe(137)
    })

    test('a command that writes nothing ends like any other', async () => {
      const ran = await run(['true'])
      expect([ran.out.length, ran.err.length, ran.code]).toEqual([0, 0, 0])
    })

    test('1 MiB of output arrives whole, in order, and once', async () => {
      const ran = await sh('yes 0123456789abcdef | head -c 1048576')
      const expected = Buffer.alloc(1_048_576, '0123456789abcdef\n')
      expect(ran.out.length).toBe(1_048_576)
      expect(createHash('sha256').update(ran.out).digest('hex')).toBe(createHash('sha256').update(expected).digest('hex'))
      expect(ran.code).toBe(0)
    })

    test('both streams at full speed do not mix', async () => {
      const ran = await sh(
        'yes eeeeeeeeeeeeeeeeeeeeeeeeeeeeeee | head -c 64000 >&2 & yes ooooooooooooooooooooooooooooooooo | head -c 640000; wait',
      )
      expect(new Set(`${ran.out}`.replaceAll('\n', '')).size).toBe(f.backend.traits.separateStderr ? 1 : 2)
      if (f.backend.traits.separateStderr) expect([ran.out.length, ran.err.length]).toEqual([640_000, 64_000])
    })

    test('S38 binary output and invalid UTF-8 arrive byte for byte', async () => {
      const octal = Array.from({ length: 256 }, (_, i) => `\\${i.toString(8).padStart(3, '0')}`).join('')
      const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const ran = await sh(`i=0; while [ $i -lt 40 ]; do printf '${octal}'; i=$((i+1)); done`)
      expect(ran.out.equals(Buffer.concat(Array.from({ length: 40 }, () => all)))).toBe(true)
    })

    test('S38 a character split over two writes arrives as the same bytes', async () => {
      const ran = await sh(
        `printf '\\360\\237'; sleep 0.2; printf '\\232\\200'; printf '\\303' >&2; sleep 0.2; printf '\\251' >&2`,
      )
      expect(`${ran.out}`).toBe('🚀')
      if (f.backend.traits.separateStderr) expect(`${ran.err}`).toBe('é')
    })

    test('[exact-argv] S06 S08 200 hostile strings reach the command unchanged', async () => {
      const word = fc.oneof(
        fc.string({ unit: 'grapheme', maxLength: 40 }),
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.stringMatching(/^-{1,2}[a-z=;$()'"`\\ \n]{0,20}$/),
        fc.constantFrom('', '$(id)', '`id`', '; id', '\n', "'", '"', '\\', '$@', '*', '--', '-', '%s', '\x1e', 'é\n', 'A=1'),
      )
      const words = fc.sample(word, { numRuns: 200, seed: 1 }).map((one) => one.replaceAll('\0', '').toWellFormed())
      for (let at = 0; at < words.length; at += 50) {
        const some = words.slice(at, at + 50)
        const ran = await run(['/bin/sh', '-c', 'for a; do printf "%s\\0" "$a"; done', ...some.slice(0, 1), ...some])
        expect(`${ran.out}`.split('\0').slice(0, -1)).toEqual(some)
      }
      const direct = await run(['printf', '%s\\n', '$(id)', '`id`', '; id', 'a  b', '-n', "it's", '*'])
      expect(`${direct.out}`).toBe("$(id)\n`id`\n; id\na  b\n-n\nit's\n*\n")
    })

    test('S46 nothing of drover’s environment reaches the command', async () => {
      process.env.DROVER_CANARY = `canary-${newExec()}`
      try {
        // What an engine starts itself has no parent in there.
        const ran = await sh('env; tr "\\0" "\\n" </proc/self/environ; [ $PPID = 0 ] || tr "\\0" " " </proc/$PPID/cmdline')
        expect(`${ran.out}`).not.toContain(process.env.DROVER_CANARY)
        expect(`${ran.out}`).not.toContain('canary')
        expect(ran.code).toBe(0)
      } finally {
        delete process.env.DROVER_CANARY
      }
    })

    test('the command’s stdin is empty, so that what reads it ends', async () => {
      const ran = await run(['cat'])
      expect([ran.out.length, ran.code]).toEqual([0, 0])
    })

    test('a missing program is told as such, and is no success', async () => {
      const outcome = await run(['drover-no-such-program', 'x']).catch((e: unknown) => e)
      if (outcome instanceof BackendError) expect([outcome.code, outcome.ran]).toEqual(['command_not_found', 'no'])
      else expect((outcome as Ran).code).toBe(127)
    })

    test('environment and directory are set, or refused before anything runs', async () => {
      const { env, dir } = f.backend.traits
      const withEnv = sh('printf "%s" "$A_1"', { env: { A_1: "x 'y' $(id)\nz" } })
      if (env) expect(`${(await withEnv).out}`).toBe("x 'y' $(id)\nz")
      else expect(await failureOf(withEnv)).toMatchObject({ code: 'unsupported', ran: 'no' })
      const inDir = sh('pwd', { dir: '/tmp' })
      if (dir) expect(`${(await inDir).out}`).toBe('/tmp\n')
      else expect(await failureOf(inDir)).toMatchObject({ code: 'unsupported', ran: 'no' })
      if (dir) expect((await failureOf(sh('echo ran', { dir: '/no/such/dir' }))).ran).toBe('no')
    })

    test('stdin and user are done, or refused before anything runs', async () => {
      const { stdin, user } = f.backend.traits
      if (stdin) expect(`${(await run(['cat'], { stdin: 'a\nb' })).out}`).toBe('a\nb')
      else expect(await failureOf(run(['cat'], { stdin: 'a' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
      if (!user) expect(await failureOf(run(['id'], { user: 'nobody' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
    })

    test('with a terminal the command sees one, and the exit code stays true', async () => {
      if (!f.backend.traits.tty) {
        expect(await failureOf(sh('true', { tty: true }))).toMatchObject({ code: 'unsupported', ran: 'no' })
        return
      }
      const ran = await sh('[ -t 1 ] && echo terminal; echo err >&2; exit 3', { tty: true })
      expect(`${ran.out}`).toBe('terminal\r\nerr\r\n')
      expect([ran.err.length, ran.code]).toEqual([0, 3])
    })

    test('output comes while the command runs', async () => {
      const { events, connection } = await begin(f.backend, f.target, ['/bin/sh', '-c', 'echo first; exec sleep 5'])
      connection.abort()
      await events.next().catch(() => undefined)
    })

    test('S41 an abort ends the iterator with an error, never with an exit', async () => {
      const mark = newMark()
      const { events, handle, connection } = await begin(f.backend, f.target, ['/bin/sh', '-c', `echo go; sleep ${mark}`])
      connection.abort(new Error('enough'))
      const rest = (async () => {
        for (;;) if ((await events.next()).done) return
      })()
      expect((await failureOf(rest)).ran).toBe('maybe')
      await f.backend.kill(f.target, handle, AbortSignal.timeout(30_000))
    })

    test('an abort before the start runs nothing', async () => {
      const mark = newMark()
      await expect(runOn(f.backend, f.target, { argv: ['sleep', mark] }, AbortSignal.abort())).rejects.toThrow()
      expect(await f.processesInside(f.target, `sleep ${mark}`)).toEqual([])
    })

    test('[gone-is-gone] S42 kill ends children, grandchildren and daemons, also those that ignore TERM, and proves it', async () => {
      const mark = newMark()
      const text = `trap '' TERM; (sleep ${mark} &); setsid sleep ${mark} & sleep ${mark} & echo go; while :; do sleep ${mark}; done`
      const { handle, connection, events } = await begin(f.backend, f.target, ['/bin/sh', '-c', text])
      expect(await f.processesInside(f.target, `sleep ${mark}`)).not.toEqual([])
      if (f.backend.traits.kill) {
        expect(await f.backend.kill(f.target, handle, AbortSignal.timeout(30_000))).toEqual({ result: 'gone' })
        expect(await f.processesInside(f.target, `sleep ${mark}`)).toEqual([])
      }
      connection.abort()
      await events.next().catch(() => undefined)
    })

    test('[gone-is-gone] S42 kill works by another connection after the first one is gone', async () => {
      if (!f.backend.traits.kill) return
      const mark = newMark()
      const { handle, connection, events } = await begin(f.backend, f.target, ['/bin/sh', '-c', `echo go; sleep ${mark}; true`])
      connection.abort()
      await events.next().catch(() => undefined)
      expect(await f.backend.kill(f.target, handle, AbortSignal.timeout(30_000))).toEqual({ result: 'gone' })
      expect(await f.processesInside(f.target, `sleep ${mark}`)).toEqual([])
    })

    test('kill spares every other execution', async () => {
      if (!f.backend.traits.kill) return
      const mark = newMark()
      const other = await begin(f.backend, f.target, ['/bin/sh', '-c', `echo go; sleep ${mark}; true`])
      await f.backend.kill(f.target, { target: f.target.id, exec: newExec() }, AbortSignal.timeout(30_000))
      expect(await f.processesInside(f.target, `sleep ${mark}`)).not.toEqual([])
      expect(await f.backend.kill(f.target, other.handle, AbortSignal.timeout(30_000))).toEqual({ result: 'gone' })
      other.connection.abort()
    })

    test('[true-ending] S41 a connection that breaks is an error that says it may have run, never a success', async () => {
      if (!f.breakAfter) return
      // More than any answer about the container takes, so that it is the output that breaks off.
      f.breakAfter(20_000)
      try {
        const error = await failureOf(sh('yes | head -c 200000; exit 0'))
        expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
        expect(error.next).toBeTruthy()
      } finally {
        f.breakAfter(0)
      }
    })

    test('a container that does not run is told as such', async () => {
      if (!f.stopped) return
      const error = await failureOf(runOn(f.backend, f.stopped, { argv: ['true'] }))
      expect([error.code, error.ran]).toEqual(['not_running', 'no'])
    })

    test('without a shell in the container the command still runs, and the ending is as true as it can be', async () => {
      if (!f.bare) return
      const missing = await failureOf(runOn(f.backend, f.bare, { argv: ['drover-no-such-program'] }))
      expect([missing.code, missing.ran]).toEqual(['command_not_found', 'no'])
    })

    test('S43 sixty executions, a third of them aborted, leave no connection open', async () => {
      if (!f.openConnections) return
      for (let round = 0; round < 6; round += 1) {
        await Promise.all(
          Array.from({ length: 10 }, async (_, i) => {
            if (i % 3 !== 0) return expect((await sh(`echo ${i}`)).code).toBe(0)
            const { events, connection } = await begin(f.backend, f.target, ['/bin/sh', '-c', 'echo go; sleep 3'])
            connection.abort()
            await events.next().catch(() => undefined)
          }),
        )
      }
      await expect.poll(() => f.openConnections?.(), { timeout: 10_000 }).toBe(0)
    })

    test('check finds nothing wrong', async () => {
      const lines = await f.backend.check(AbortSignal.timeout(30_000))
      expect(lines.filter((line) => line.ok === false)).toEqual([])
      expect(lines.length).toBeGreaterThan(0)
    })
  })
}

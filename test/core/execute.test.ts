/** One command on one target to its end, against small backends that do each thing a real one may do. */

import { describe, expect, it } from 'vitest'
import { BackendError, failureOf } from '../../src/core/errors.ts'
import { type ExecuteOptions, execute } from '../../src/core/execute.ts'
import { createGate } from '../../src/core/fan-out.ts'
import type { ExecEvent, ExecHandle, OutputChunk, Target, TargetId } from '../../src/core/model.ts'
import type { Backend, KillResult } from '../../src/core/ports.ts'
import { createRedactor } from '../../src/core/redact.ts'

const target: Target = { id: 'b/1' as TargetId, backend: 'b', kind: 'docker', native: '1', name: 'one', labels: {}, facets: {} }
const traits = { exitCode: true, separateStderr: true, stdin: true, env: true, dir: true, user: true, tty: true, kill: true }
const utf8 = (text: string) => new TextEncoder().encode(text)
const output = (text: string): ExecEvent => ({ type: 'output', stream: 'stdout', data: utf8(text) })
const never = new Promise<never>(() => {})
const aborted = (signal: AbortSignal) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))

type Script = (exec: string, signal: AbortSignal, killed: Promise<void>) => AsyncIterable<ExecEvent>
type Kill = (handle: ExecHandle) => Promise<KillResult>

const gone: Kill = async () => ({ result: 'gone' })

/** A backend made of one script; `kills` says what it was asked to end. */
function backendOf(script: Script, kill: Kill = gone) {
  const kills: ExecHandle[] = []
  let struck = () => {}
  const killed = new Promise<void>((resolve) => {
    struck = resolve
  })
  const backend: Backend = {
    name: 'b',
    kind: 'docker',
    traits,
    list: async () => [target],
    exec: (_target, _command, exec, signal) => script(exec, signal, killed),
    async kill(_target, handle) {
      kills.push(handle)
      struck()
      return kill(handle)
    },
    check: async () => [],
  }
  return { backend, kills }
}

function started(exec: string, pid?: number): ExecEvent {
  return { type: 'started', handle: { target: target.id, exec, ...(pid === undefined ? {} : { pid }) } }
}

async function run(backend: Backend, more: Partial<ExecuteOptions> = {}) {
  const chunks: OutputChunk[] = []
  const handles: ExecHandle[] = []
  const bugs: unknown[] = []
  const result = await execute({
    backend,
    target,
    command: { argv: ['x'] },
    timeoutMs: 15_000,
    cancel: new AbortController().signal,
    handshake: createGate(6),
    redactor: createRedactor([]),
    maxBytes: 100_000,
    onHandle: async (handle) => void handles.push(handle),
    onOutput: async (some) => void chunks.push(...some),
    failureOf: (error) => failureOf(error, (_, bug) => bugs.push(bug)),
    ...more,
  })
  return { ...result, text: [...chunks, ...result.rest].map((chunk) => chunk.text).join(''), handles, bugs }
}

/** A stream whose first pull fails. */
const failing =
  (error: Error): Script =>
  () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) })

const sleeping: Script = async function* (exec, signal, killed) {
  yield started(exec, 7)
  yield output('working\n')
  await Promise.race([killed, aborted(signal)])
  yield output('last words')
  yield { type: 'exit', code: 137 }
}

describe('[true-ending] a command ends once', () => {
  it('as it says: its code, its output, its handle', async () => {
    const { backend, kills } = backendOf(async function* (exec) {
      yield started(exec, 7)
      yield output('a')
      yield output('b')
      yield { type: 'exit', code: 3 }
      yield { type: 'exit', code: 0 }
    })
    const { ending, text, handles, count } = await run(backend)
    expect(ending).toEqual({ status: 'exited', code: 3 })
    expect([text, handles, kills]).toEqual([
      'ab',
      [{ target: target.id, exec: expect.stringMatching(/^[0-9a-f]{32}$/), pid: 7 }],
      [],
    ])
    expect(count).toEqual({ stdout: 2, stderr: 0, dropped: 0, masked: 0 })
  })

  const broken = new BackendError({ code: 'stream_broken', message: 'The connection broke.' }, { ran: 'maybe' })
  const refused = new BackendError({ code: 'not_running', message: 'It does not run.' }, { ran: 'no' })
  it.each<[string, Script, object]>([
    [
      'S41 a stream that breaks after output',
      async function* (exec) {
        yield started(exec)
        yield output('ok')
        throw broken
      },
      { status: 'unknown', error: { code: 'stream_broken' } },
    ],
    [
      'S41 S42 a stream that breaks under a process whose pid is known',
      async function* (exec) {
        yield started(exec, 41)
        throw broken
      },
      { status: 'unknown', error: { code: 'stream_broken' }, left: { pid: 41 } },
    ],
    [
      'S41 S42 a stream that breaks under a process whose pid nobody knows, which may still run,',
      async function* (exec) {
        yield started(exec)
        throw broken
      },
      { status: 'unknown', left: {} },
    ],
    [
      'S41 a stream that just ends',
      async function* () {
        yield output('ok')
      },
      { status: 'unknown', error: { code: 'backend_protocol' } },
    ],
    [
      'S41 a stream that ends before it begins',
      async function* () {},
      { status: 'unknown', error: { code: 'backend_protocol' } },
    ],
    [
      'an end that cannot tell how',
      async function* () {
        yield { type: 'exit-unknown', error: { code: 'exit_code_unknown', message: 'No shell.' } }
      },
      { status: 'unknown', error: { code: 'exit_code_unknown' } },
    ],
    ['a refusal before it ran', failing(refused), { status: 'failed', error: { code: 'not_running' } }],
    [
      'a refusal without a stream',
      () => {
        throw refused
      },
      { status: 'failed', error: { code: 'not_running' } },
    ],
    ['a bug of a backend', failing(new TypeError('x is undefined')), { status: 'unknown', error: { code: 'internal' } }],
  ])('%s is never a success', async (_, script, ending) => {
    const gate = createGate(1)
    expect((await run(backendOf(script).backend, { handshake: gate })).ending).toMatchObject(ending)
    // Its place in the handshake is free again.
    ;(await gate.enter())()
  })

  it('[gone-is-gone] S42 where nothing can be left, nothing is said to be', async () => {
    const gone = new BackendError({ code: 'backend_not_found', message: 'It was removed.' }, { ran: 'maybe' })
    const breaks = (error: Error, begins = true): Script =>
      async function* (exec) {
        if (begins) yield started(exec)
        throw error
      }
    for (const { ending } of [
      await run(backendOf(breaks(gone)).backend),
      await run(backendOf(breaks(broken, false)).backend),
      // A rollout is taken or not, and its process is the engine's own.
      await run(backendOf(breaks(broken)).backend, { leavesNothing: true }),
    ]) {
      expect(ending.status).toBe('unknown')
      expect(ending).not.toHaveProperty('left')
    }
  })
})

describe('[bounded] a place in the handshake', () => {
  it('is left when the connection stands, not when the command begins', async () => {
    const gate = createGate(1)
    let begin = () => {}
    const begun = new Promise<void>((resolve) => {
      begin = resolve
    })
    const slow = backendOf(async function* () {
      yield { type: 'connected' }
      await begun
      yield { type: 'exit', code: 0 }
    })
    const first = run(slow.backend, { handshake: gate })
    const second = await run(
      backendOf(async function* () {
        yield { type: 'exit', code: 3 }
      }).backend,
      { handshake: gate },
    )
    expect(second.ending).toEqual({ status: 'exited', code: 3 })
    begin()
    expect((await first).ending).toEqual({ status: 'exited', code: 0 })
  })

  it('is not waited for by what is cancelled meanwhile, and nobody loses a turn by that', async () => {
    const gate = createGate(1)
    const leave = await gate.enter()
    const { backend, kills } = backendOf(async function* () {
      yield { type: 'exit', code: 0 }
    })
    const cancel = new AbortController()
    const cancelled = run(backend, { handshake: gate, cancel: cancel.signal })
    const next = run(backend, { handshake: gate })
    cancel.abort()
    expect((await cancelled).ending).toMatchObject({ status: 'failed', error: { code: 'not_started' } })
    const first = await Promise.race([next, new Promise((resolve) => setImmediate(() => resolve('still waiting')))])
    expect(first).toBe('still waiting')
    leave()
    expect((await next).ending).toEqual({ status: 'exited', code: 0 })
    expect(kills).toEqual([])
    ;(await gate.enter())()
  })

  it('what only stands has not begun: stopped then, it is given up before the kill looks', async () => {
    let connection: AbortSignal | undefined
    const wasGivenUp: (boolean | undefined)[] = []
    const waiting: Script = async function* (_, signal) {
      connection = signal
      yield { type: 'connected' }
      await aborted(signal)
    }
    const { backend } = backendOf(waiting, async () => {
      wasGivenUp.push(connection?.aborted)
      return { result: 'gone' }
    })
    expect((await run(backend, { timeoutMs: 50 })).ending).toEqual({ status: 'timed_out' })
    expect(wasGivenUp).toEqual([true])
  })
})

describe('[gone-is-gone] S42 a command that is stopped', () => {
  it('by its time limit: is killed, its last words are kept, and it is proved gone', async () => {
    const { backend, kills } = backendOf(sleeping)
    const { ending, text } = await run(backend, { timeoutMs: 50 })
    expect([ending, text]).toEqual([{ status: 'timed_out' }, 'working\nlast words'])
    expect(kills).toEqual([{ target: target.id, exec: expect.any(String), pid: 7 }])
  })

  it('by a person: the same, as cancelled', async () => {
    const cancel = new AbortController()
    const { backend } = backendOf(sleeping)
    const running = run(backend, { cancel: cancel.signal, onHandle: async () => cancel.abort() })
    expect((await running).ending).toEqual({ status: 'cancelled' })
  })

  it.each<[string, Kill, object]>([
    ['names the survivor that the kill found', async () => ({ result: 'left', pid: 9 }), { pid: 9 }],
    ['falls back to the pid it began with', async () => ({ result: 'left' }), { pid: 7 }],
    [
      'cannot be proved gone when the kill fails',
      async () => {
        throw new Error('no route')
      },
      { pid: 7 },
    ],
  ])('%s', async (_, kill, left) => {
    const { ending } = await run(backendOf(sleeping, kill).backend, { timeoutMs: 30 })
    expect(ending).toEqual({ status: 'timed_out', left })
  })

  it('without a pid says that something is left, and not what', async () => {
    const script: Script = async function* (exec, signal) {
      yield started(exec)
      await aborted(signal)
      throw new Error('closed')
    }
    const { ending } = await run(backendOf(script, async () => ({ result: 'left' })).backend, { timeoutMs: 30 })
    expect(ending).toEqual({ status: 'timed_out', left: {} })
  })

  it('the first cause wins: the exit code that its death leaves is not its ending', async () => {
    const cancel = new AbortController()
    const { backend } = backendOf(sleeping, async () => {
      cancel.abort()
      return { result: 'gone' }
    })
    expect((await run(backend, { timeoutMs: 30, cancel: cancel.signal })).ending).toEqual({ status: 'timed_out' })
  })

  it('what turns out never to have run while it was being stopped did not run', async () => {
    const script: Script = async function* (exec, _, killed) {
      yield started(exec)
      await killed
      throw new BackendError({ code: 'command_not_found', message: 'No such file.' }, { ran: 'no' })
    }
    const { ending } = await run(backendOf(script).backend, { timeoutMs: 30 })
    expect(ending).toMatchObject({ status: 'failed', error: { code: 'command_not_found' } })
  })

  it('an exit that came first stays, and nothing is killed', async () => {
    const cancel = new AbortController()
    const { backend, kills } = backendOf(async function* () {
      yield { type: 'exit', code: 0 }
    })
    const { ending } = await run(backend, { cancel: cancel.signal })
    cancel.abort()
    expect([ending, kills]).toEqual([{ status: 'exited', code: 0 }, []])
  })

  it('a time limit and an exit at the same moment end it once, either way', async () => {
    for (let i = 0; i < 40; i++) {
      const { backend, kills } = backendOf(async function* (exec) {
        yield started(exec)
        await new Promise((resolve) => setTimeout(resolve, 5))
        yield { type: 'exit', code: 0 }
      })
      const { ending } = await run(backend, { timeoutMs: 5 })
      expect(ending).toEqual(kills.length > 0 ? { status: 'timed_out' } : { status: 'exited', code: 0 })
    }
  })

  it('before its first word: the connection is given up before the proof, so that nothing begins after it', async () => {
    const order: string[] = []
    const script: Script = async function* (_, signal) {
      signal.addEventListener('abort', () => order.push('given up'))
      await never
      yield output('')
    }
    const { backend } = backendOf(script, async () => {
      order.push('kill')
      return { result: 'gone' }
    })
    expect((await run(backend, { timeoutMs: 30 })).ending).toEqual({ status: 'timed_out' })
    expect(order).toEqual(['given up', 'kill'])
  })

  it('[bounded] a backend that never notices holds nobody up', async () => {
    const script: Script = async function* (exec) {
      yield started(exec, 7)
      await never
    }
    const { ending } = await run(backendOf(script, async () => ({ result: 'left' })).backend, { timeoutMs: 30 })
    expect(ending).toEqual({ status: 'timed_out', left: { pid: 7 } })
  })

  it('before its turn: it does not run at all', async () => {
    let begun = false
    const { backend, kills } = backendOf(async function* () {
      begun = true
      yield { type: 'exit', code: 0 }
    })
    const { ending } = await run(backend, { cancel: AbortSignal.abort() })
    expect(ending).toMatchObject({ status: 'failed', error: { code: 'not_started' } })
    expect([begun, kills]).toEqual([false, []])
  })
})

describe('[recorded-first] S39 what cannot be recorded does not go on', () => {
  it.each(['onHandle', 'onOutput'] as const)('%s: the command is killed, and the failure is passed on', async (which) => {
    const { backend, kills } = backendOf(sleeping)
    const stores = { [which]: async () => Promise.reject(new Error('disk full')), maxBytes: 100_000 }
    const flood: Script = async function* (exec, signal, killed) {
      yield started(exec, 7)
      yield output('x\n'.repeat(50_000))
      await Promise.race([killed, aborted(signal)])
      yield { type: 'exit', code: 0 }
    }
    const used = which === 'onHandle' ? { backend, kills } : backendOf(flood)
    await expect(run(used.backend, stores)).rejects.toThrow('disk full')
    expect(used.kills).toHaveLength(1)
  })

  it('what is still being stored when the command ends is waited for, and its failure is passed on', async () => {
    let asked = (): void => {}
    const flushed = new Promise<void>((resolve) => {
      asked = resolve
    })
    const script: Script = async function* (exec) {
      yield started(exec)
      yield output('first words\n')
      await flushed
      yield { type: 'exit', code: 0 }
    }
    const onOutput = async () => {
      asked()
      await new Promise((resolve) => setTimeout(resolve, 50))
      throw new Error('disk full')
    }
    await expect(run(backendOf(script).backend, { onOutput })).rejects.toThrow('disk full')
  })

  it('[bounded] a slow ledger slows the command down: no more than what it has asked for is read', async () => {
    let produced = 0
    let storedBytes = 0
    let ahead = 0
    const { backend } = backendOf(async function* () {
      for (; produced < 40; produced++) {
        yield output('y\n'.repeat(32_768))
        ahead = Math.max(ahead, produced * 65_536 - storedBytes)
      }
      yield { type: 'exit', code: 0 }
    })
    const { count } = await run(backend, {
      maxBytes: 8_000_000,
      onOutput: async (chunks) => {
        await new Promise((resolve) => setImmediate(resolve))
        storedBytes += chunks.reduce((sum, chunk) => sum + chunk.text.length, 0)
      },
    })
    expect(count).toMatchObject({ stdout: 40 * 65_536, dropped: 0 })
    expect(ahead).toBeLessThanOrEqual(2 * 65_536)
  })
})

describe('what comes before a command, and what is lost of it', () => {
  it('[gone-is-gone] what is still being prepared is given up before the kill, so that nothing begins after the proof', async () => {
    let wasGivenUp: boolean | undefined
    let connection: AbortSignal | undefined
    const preparing: Script = async function* (_exec, signal) {
      connection = signal
      yield { type: 'progress', text: 'pulling' }
      await aborted(signal)
      throw new BackendError({ code: 'stream_broken', message: 'given up' }, { ran: 'no' })
    }
    const { backend } = backendOf(preparing, async () => {
      wasGivenUp = connection?.aborted
      return { result: 'gone' }
    })
    const said: string[] = []
    const { ending } = await run(backend, { timeoutMs: 50, onProgress: async (text) => void said.push(text) })
    expect([ending.status, wasGivenUp, said]).toEqual(['timed_out', true, ['pulling']])
  })

  it('[bounded] what a backend had to throw away is counted and said', async () => {
    const losing: Script = async function* (exec) {
      yield started(exec)
      yield output('kept\n')
      yield { type: 'output', stream: 'stdout', data: new Uint8Array(), dropped: 1_000 }
      yield { type: 'exit', code: 137 }
    }
    const { count, text } = await run(backendOf(losing).backend)
    expect(count).toMatchObject({ stdout: 1_005, dropped: 1_000 })
    expect(text).toBe('kept\n\n[drover: 1000 bytes dropped here]\n')
  })
})

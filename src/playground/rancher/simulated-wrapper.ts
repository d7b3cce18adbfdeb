/**
 * Does what a real `sh` would do with the scripts that drover's backends send (`wrapper.ts` of rancher1 and of kubernetes, `wire/kill.ts`).
 * just-bash cannot run them itself: it does not duplicate file descriptors into pipes, writes nothing before the end and has no /proc of processes.
 * `test/playground/simulated.test.ts` makes the same claims about this and about a real shell.
 */

import type { PeerEnd } from './engine.ts'
import { wait } from './simulated-commands.ts'
import { createInput } from './simulated-input.ts'
import type { Machine, MachineProcess } from './simulated-machine.ts'
import type { SimulatedIo } from './simulated-shell.ts'

type Wrapper = {
  /** `frames`: Rancher 1.x, where one stream holds everything. `marker`: Kubernetes, which keeps the streams and the exit code itself. */
  readonly kind: 'frames' | 'marker'
  /** Bytes of stdin that are the command's; only with `marker`. */
  readonly stdinBytes: number
  readonly exec: string
  readonly dir: string
  readonly environ: Readonly<Record<string, string>>
  readonly argv: readonly string[]
}
type Kill = { readonly kind: 'kill'; readonly exec: string; readonly pid: number | undefined }

/** Longest piece of stderr in one frame. */
const PIECE = 900
/** How long the kill script waits after TERM, and after KILL. */
const KILL_WAIT_MS = 2000

export function wrapperOf(argv: readonly string[]): Wrapper | Kill | undefined {
  const [shell, flag, script = '', name, ...rest] = argv
  if (shell !== '/bin/sh' || flag !== '-c') return undefined
  if (name === 'drover-kill' && script.includes('/proc/')) {
    const [head = '', pid = '-', tail = ''] = rest
    return { kind: 'kill', exec: head + tail, pid: pid === '-' ? undefined : Number(pid) }
  }
  if (name !== 'drover' || !script.includes('read -r _n')) return undefined
  const kind = script.includes('m() {') ? 'marker' : 'frames'
  const [exec = '', dir = '', ...more] = rest
  const [bytes, words] = kind === 'marker' ? [Number(more[0] ?? 0), more.slice(1)] : [0, more]
  const end = words.indexOf('--')
  const pairs = words.slice(0, end).map((word): [string, string] => {
    const at = word.indexOf('=')
    return [word.slice(0, at), word.slice(at + 1)]
  })
  return { kind, stdinBytes: bytes, exec, dir, environ: Object.fromEntries(pairs), argv: words.slice(end + 1) }
}

type Run = (machine: Machine, self: MachineProcess, argv: readonly string[], io: SimulatedIo) => Promise<PeerEnd>

/** Tells with a marker that it is there, waits for its nonce, hands everything else through, and tells the exit code. */
export async function runMarked(
  machine: Machine,
  self: MachineProcess,
  wrapper: Wrapper,
  io: SimulatedIo,
  run: Run,
): Promise<number> {
  const { signal } = self.controller
  const mark = (name: string, word: string) =>
    io.out(io.tty ? 'stdout' : 'stderr', Buffer.from(`\x1e${name} ${word}\n`, 'latin1'))
  if (wrapper.dir !== '' && !(await isDirectory(machine, wrapper.dir))) {
    await mark(wrapper.exec, 'd')
    return 125
  }
  await mark(wrapper.exec, `p${self.pid}`)
  const line = await io.input.line(signal)
  if (line === undefined || line.at(-1) !== 0x0a) return 125
  const nonce = Buffer.from(line).toString('latin1').trimEnd()
  if (io.tty) await mark(nonce, 'b')
  const input = createInput()
  if (wrapper.stdinBytes > 0) input.push(await io.input.bytes(wrapper.stdinBytes, signal))
  input.end()
  const child = await machine.spawn(wrapper.argv, self, { ...self.environ, DROVER_EXEC: wrapper.exec, ...wrapper.environ })
  const end = await run(machine, child, wrapper.argv, { ...io, input, ...(wrapper.dir === '' ? {} : { dir: wrapper.dir }) })
  await machine.reap(child)
  if (signal.aborted) return 128 + (self.signal ?? 9)
  if ('startError' in end) await io.out('stderr', Buffer.from(`drover: exec: line 6: ${wrapper.argv[0] ?? ''}: not found\n`))
  const code = 'code' in end ? end.code : 127
  await mark(nonce, `x${code}`)
  return code
}

export async function runWrapper(
  machine: Machine,
  self: MachineProcess,
  wrapper: Wrapper,
  io: SimulatedIo,
  run: Run,
): Promise<number> {
  const { signal } = self.controller
  const line = await io.input.line(signal)
  if (line === undefined || line.at(-1) !== 0x0a) return 125
  const nonce = Buffer.from(line).toString('latin1').slice(0, -1)
  const frame = (type: string, payload: Uint8Array = new Uint8Array()): Promise<void> =>
    io.out(
      'stdout',
      Buffer.concat([Buffer.from(`\x1e${nonce} ${type}`, 'latin1'), payload, Buffer.from(`\x1f${nonce}`, 'latin1')]),
    )

  await frame(`p${self.pid}`)
  if (wrapper.dir !== '' && !(await isDirectory(machine, wrapper.dir))) {
    await frame('d')
    await wait(1000, signal)
    return 125
  }
  const lines = createLines(frame)
  const nothing = createInput()
  nothing.end()
  const child = await machine.spawn(wrapper.argv, self, { ...self.environ, DROVER_EXEC: wrapper.exec, ...wrapper.environ })
  const end = await run(machine, child, wrapper.argv, {
    input: nothing,
    tty: io.tty,
    ...(wrapper.dir === '' ? {} : { dir: wrapper.dir }),
    out: (stream, data) =>
      signal.aborted ? Promise.resolve() : stream === 'stdout' || io.tty ? io.out('stdout', data) : lines.push(data),
  })
  await machine.reap(child)
  if (signal.aborted) return 128 + (self.signal ?? 9)
  if ('startError' in end) {
    const text = Buffer.from(`drover: exec: line 6: ${wrapper.argv[0] ?? ''}: not found\n`)
    if (io.tty) await io.out('stdout', text)
    else await lines.push(text)
  }
  await frame(`x${'code' in end ? end.code : 127}`)
  await lines.end()
  await frame('z')
  await wait(1000, signal)
  return 0
}

/** Frames stderr as the script's `read -n 900` does: `e` is a line without its newline, `E` a piece. */
function createLines(frame: (type: string, payload: Uint8Array) => Promise<void>) {
  let held = Buffer.alloc(0)
  const cut = async (): Promise<void> => {
    for (;;) {
      const at = held.indexOf(0x0a)
      if (at >= 0 && at < PIECE) {
        const line = held.subarray(0, at)
        held = held.subarray(at + 1)
        await frame('e', line)
      } else if (held.length >= PIECE) {
        const piece = held.subarray(0, PIECE)
        held = held.subarray(PIECE)
        await frame('E', piece)
      } else return
    }
  }
  return {
    async push(data: Uint8Array) {
      held = Buffer.concat([held, data])
      await cut()
    },
    async end() {
      if (held.length > 0) await frame('E', held)
    },
  }
}

async function isDirectory(machine: Machine, dir: string): Promise<boolean> {
  try {
    return (await machine.fs.stat(dir)).isDirectory
  } catch {
    return false
  }
}

/** Finds what belongs to an execution by environment, command line, session or parent; TERM, then KILL; says `gone` or `left <pids>`. */
export async function runKill(machine: Machine, self: MachineProcess, kill: Kill, io: SimulatedIo): Promise<number> {
  const isWrapper = (one: MachineProcess): boolean => one.argv.some((word) => word.includes(kill.exec))
  const known = new Set<number>()
  const scan = (): { all: readonly MachineProcess[]; inner: readonly MachineProcess[] } => {
    const all = machine.processes().filter((one) => {
      if (one.pid === self.pid) return false
      const belongs =
        known.has(one.pid) ||
        isWrapper(one) ||
        one.group === kill.pid ||
        known.has(one.ppid) ||
        Object.values(one.environ).some((value) => value.includes(kill.exec))
      if (belongs) known.add(one.pid)
      return belongs
    })
    return { all, inner: all.filter((one) => !isWrapper(one)) }
  }
  const until = async (empty: () => boolean): Promise<void> => {
    const deadline = Date.now() + KILL_WAIT_MS
    while (!empty() && Date.now() < deadline && !self.controller.signal.aborted) await wait(20, self.controller.signal)
  }
  for (const one of scan().inner) machine.signal(one.pid, 15)
  await until(() => scan().inner.length === 0)
  for (const one of scan().all) machine.signal(one.pid, 9)
  await until(() => scan().all.length === 0)
  const left = scan().all.map((one) => one.pid)
  await io.out('stdout', Buffer.from(left.length > 0 ? `left ${left.join(' ')}\n` : 'gone\n'))
  return 0
}

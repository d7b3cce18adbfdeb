/**
 * The default engine: a simulated shell in simulated containers. Nothing real runs.
 * just-bash gives output only when a command is through, so only `LIVE` programs write while they run.
 */

import { Bash } from 'just-bash'
import { type EngineContainer, neverStarted, type PeerEnd, type PeerEngine, type PeerProcess, startErrorText } from './engine.ts'
import { commandsOf, LIVE } from './simulated-commands.ts'
import { createMachine, type Machine, type MachineProcess } from './simulated-machine.ts'
import { createTerminal } from './terminal.ts'

const SHELL = /^(?:\/(?:usr\/)?bin\/)?(?:ba|a|da)?sh$/
/** Programs that read their standard input when they are given no file. */
const READERS = new Set([
  'cat',
  'wc',
  'sort',
  'tee',
  'tr',
  'head',
  'tail',
  'sha256sum',
  'md5sum',
  'base64',
  'grep',
  'sed',
  'awk',
  'xargs',
])
/** Builtins of the shell that are programs as well. `cd` is not one, and cannot be started by an engine. */
const PROGRAMS = new Set(['echo', 'true', 'false', 'test', '[', 'printf', 'pwd'])
const STDIN_CAP = 8 * 1024 * 1024
const BANNER =
  "\n\nBusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) built-in shell (ash)\nEnter 'help' for a list of built-in commands.\n\n"
const PROMPT = '/ # '

export type SimulatedIo = {
  out(stream: 'stdout' | 'stderr', data: Uint8Array): Promise<void>
  readonly input: Input
  readonly tty: boolean
}

export function simulatedEngine(): PeerEngine {
  const machines = new Map<string, Machine>()
  const machineOf = (container: EngineContainer): Machine => {
    const known = machines.get(container.engineId)
    if (known) return known
    const machine = createMachine(container)
    machines.set(container.engineId, machine)
    return machine
  }
  const endAll = (machine: Machine): void => {
    for (const one of machine.processes()) machine.signal(one.pid, 9)
  }
  return {
    exec(container, spec) {
      const [file = ''] = spec.argv
      if (!container.shell) return neverStarted(startErrorText(file))
      return start(machineOf(container), spec)
    },
    async stopped(container, removed) {
      const machine = machines.get(container.engineId)
      if (machine) endAll(machine)
      if (removed) machines.delete(container.engineId)
    },
    async close() {
      for (const machine of machines.values()) endAll(machine)
      machines.clear()
    },
  }
}

function start(machine: Machine, spec: { argv: readonly string[]; tty: boolean; stdin: boolean }): PeerProcess {
  let output: (stream: 'stdout' | 'stderr', data: Uint8Array) => void = () => {}
  let resume: (() => void) | undefined
  let paused: Promise<void> | undefined
  let running: MachineProcess | undefined
  let killed = false
  const input = createInput()
  if (!spec.stdin && !spec.tty) input.end()

  const emit = async (stream: 'stdout' | 'stderr', data: Uint8Array): Promise<void> => {
    output(stream, data)
    await paused
  }
  const terminal = createTerminal({
    line: (data) => input.push(data),
    endOfFile: () => input.end(),
    interrupt: () => running && machine.signal(-running.group, 2),
    echo: (data) => output('stdout', data),
  })
  const io: SimulatedIo = {
    input,
    tty: spec.tty,
    out: (stream, data) => (spec.tty ? emit('stdout', terminal.print(data)) : emit(stream, data)),
  }
  const ended = (async (): Promise<PeerEnd> => {
    const environ = {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      HOSTNAME: machine.container.hostname,
      HOME: '/root',
      ...(spec.tty ? { TERM: 'xterm' } : {}),
    }
    running = await machine.spawn(spec.argv, undefined, environ)
    if (killed) machine.signal(-running.group, 9)
    try {
      return await run(machine, running, spec.argv, io)
    } finally {
      await machine.reap(running)
    }
  })()

  return {
    onOutput(callback) {
      output = callback
    },
    async write(data) {
      if (spec.tty) terminal.type(data)
      else input.push(data)
    },
    endInput() {
      if (!spec.tty) input.end()
    },
    resize() {},
    pause() {
      paused ??= new Promise((resolve) => {
        resume = resolve
      })
    },
    resume() {
      resume?.()
      paused = undefined
    },
    kill() {
      killed = true
      if (running) machine.signal(-running.group, 9)
    },
    ended,
  }
}

/** One argv in a container, to its end. */
export async function run(machine: Machine, self: MachineProcess, argv: readonly string[], io: SimulatedIo): Promise<PeerEnd> {
  const [file = '', ...args] = argv
  const name = file.split('/').pop() ?? ''
  const bash = shellOf(machine, self)
  const { signal } = self.controller
  const live = LIVE[name]
  if (live) return endOf(self, await live(args, (text) => io.out('stdout', Buffer.from(text)), signal, machine))
  if (SHELL.test(file) && args.length === 0) return endOf(self, await interactive(bash, self, io))
  if (!(await exists(bash, file))) return { startError: startErrorText(file) }
  const reads = READERS.has(name) && !args.some((word) => word.startsWith('/')) && !(name === 'grep' && args.length > 1)
  const stdin = reads ? await io.input.rest(signal) : io.input.taken()
  return endOf(self, await runLine(bash, argv.map(quoted).join(' '), self, io, stdin))
}

function endOf(self: MachineProcess, code: number): PeerEnd {
  return { code: self.signal === undefined ? code : 128 + self.signal }
}

/** A shell of its own for each process, over the same files. */
function shellOf(machine: Machine, self: MachineProcess): Bash {
  return new Bash({
    fs: machine.fs,
    cwd: '/',
    env: { ...self.environ },
    customCommands: commandsOf(machine, self),
    processInfo: { pid: self.pid, ppid: self.ppid, uid: 0, gid: 0 },
    defenseInDepth: false,
  })
}

async function exists(bash: Bash, file: string): Promise<boolean> {
  if (SHELL.test(file)) return true
  const found = await bash.exec(`command -v -- ${quoted(file)}`)
  return found.exitCode === 0 && (found.stdout.startsWith('/') || PROGRAMS.has(file))
}

async function runLine(bash: Bash, line: string, self: MachineProcess, io: SimulatedIo, stdin: Uint8Array): Promise<number> {
  const { signal } = self.controller
  const result = await bash.exec(line, {
    rawScript: true,
    signal,
    stdin: Buffer.from(stdin).toString('latin1'),
    stdinKind: 'bytes',
  })
  // What it had written before a signal is lost with just-bash; a real one would have written it by then.
  if (signal.aborted) return 128 + (self.signal ?? 9)
  const bytes = result.stdoutKind === 'bytes' || result.stdoutEncoding === 'binary'
  if (result.stdout !== '') await io.out('stdout', Buffer.from(result.stdout, bytes ? 'latin1' : 'utf8'))
  if (result.stderr !== '') await io.out('stderr', Buffer.from(result.stderr.replace(/^bash: (?:line \d+: )?/gm, 'sh: ')))
  return result.exitCode
}

async function interactive(bash: Bash, self: MachineProcess, io: SimulatedIo): Promise<number> {
  const { signal } = self.controller
  if (!io.tty) return runLine(bash, Buffer.from(await io.input.rest(signal)).toString(), self, io, new Uint8Array())
  await io.out('stdout', Buffer.from(`${BANNER}${PROMPT}\x1b[6n`))
  let code = 0
  for (;;) {
    const line = await io.input.line(signal)
    if (line === undefined) return code
    const text = Buffer.from(line).toString().trim()
    const leave = /(?:^|;\s*)exit(?:\s+(\d+))?$/.exec(text)
    if (text !== '' && text !== 'exit') code = await runLine(bash, text, self, io, new Uint8Array())
    if (leave || signal.aborted) return leave?.[1] === undefined ? code : Number(leave[1])
    await io.out('stdout', Buffer.from(`${PROMPT}\x1b[6n`))
  }
}

export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

export type Input = {
  push(data: Uint8Array): void
  end(): void
  /** What has come so far. */
  taken(): Uint8Array
  /** All of it, once it has ended. */
  rest(signal: AbortSignal): Promise<Uint8Array>
  /** The next line with its newline; undefined at the end. */
  line(signal: AbortSignal): Promise<Uint8Array | undefined>
}

function createInput(): Input {
  let held = Buffer.alloc(0)
  let ended = false
  let woken = (): void => {}
  const more = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      woken = resolve
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  const take = (bytes: number): Uint8Array => {
    const taken = held.subarray(0, bytes)
    held = held.subarray(bytes)
    return taken
  }
  return {
    push(data) {
      if (ended || held.length + data.length > STDIN_CAP) return
      held = Buffer.concat([held, data])
      woken()
    },
    end() {
      ended = true
      woken()
    },
    taken: () => take(held.length),
    async rest(signal) {
      while (!ended && !signal.aborted) await more(signal)
      return take(held.length)
    },
    async line(signal) {
      for (;;) {
        const at = held.indexOf(0x0a)
        if (at >= 0) return take(at + 1)
        if (ended || signal.aborted) return held.length > 0 && !signal.aborted ? take(held.length) : undefined
        await more(signal)
      }
    },
  }
}

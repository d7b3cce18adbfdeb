/** Runs one argv in a simulated container: through just-bash, as a program that writes while it runs, or as drover's own wrapper. */

import { Bash } from 'just-bash'
import { isShell, type PeerEnd, startErrorText } from './engine.ts'
import { commandsOf, LIVE, SCRATCH } from './simulated-commands.ts'
import type { Input } from './simulated-input.ts'
import type { Machine, MachineProcess } from './simulated-machine.ts'
import { runKill, runMarked, runWrapper, wrapperOf } from './simulated-wrapper.ts'

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
const BANNER =
  "\n\nBusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) built-in shell (ash)\nEnter 'help' for a list of built-in commands.\n\n"
const PROMPT = '/ # '

export type SimulatedIo = {
  out(stream: 'stdout' | 'stderr', data: Uint8Array): Promise<void>
  readonly input: Input
  readonly tty: boolean
  /** Where it runs; `/` by default. */
  readonly dir?: string
}

/** One argv in a container, to its end. */
export async function run(machine: Machine, self: MachineProcess, argv: readonly string[], io: SimulatedIo): Promise<PeerEnd> {
  const [file = '', ...args] = argv
  const name = file.split('/').pop() ?? ''
  const bash = shellOf(machine, self, io.dir)
  const { signal } = self.controller
  const wrapper = wrapperOf(argv)
  if (wrapper?.kind === 'frames') return endOf(self, await runWrapper(machine, self, wrapper, io, run))
  if (wrapper?.kind === 'marker') return endOf(self, await runMarked(machine, self, wrapper, io, run))
  if (wrapper?.kind === 'kill') return endOf(self, await runKill(machine, self, wrapper, io))
  const live = machine.container.shell ? LIVE[name] : SCRATCH
  if (live) return endOf(self, await live(args, (text) => io.out('stdout', Buffer.from(text)), self))
  if (isShell(file) && args.length === 0) return endOf(self, await interactive(bash, self, io))
  if (!(await exists(bash, file))) return { startError: startErrorText(file) }
  const reads = READERS.has(name) && !args.some((word) => word.startsWith('/')) && !(name === 'grep' && args.length > 1)
  const stdin = reads ? await io.input.rest(signal) : io.input.taken()
  return endOf(self, await runLine(bash, argv.map(quoted).join(' '), self, io, stdin))
}

function endOf(self: MachineProcess, code: number): PeerEnd {
  return { code: self.signal === undefined ? code : 128 + self.signal }
}

/** A shell of its own for each process, over the same files. */
function shellOf(machine: Machine, self: MachineProcess, dir = '/'): Bash {
  return new Bash({
    fs: machine.fs,
    cwd: dir,
    env: { ...self.environ },
    customCommands: commandsOf(machine, self),
    processInfo: { pid: self.pid, ppid: self.ppid, uid: 0, gid: 0 },
    defenseInDepth: false,
  })
}

async function exists(bash: Bash, file: string): Promise<boolean> {
  if (isShell(file)) return true
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
  // just-bash has decoded it already: output that is not UTF-8 cannot be told from text here.
  if (result.stdout !== '') await io.out('stdout', Buffer.from(inShellsName(result.stdout)))
  if (result.stderr !== '') await io.out('stderr', Buffer.from(inShellsName(result.stderr)))
  return result.exitCode
}

/** Its complaints speak of bash; the containers have an `sh`. */
function inShellsName(text: string): string {
  return text.replace(/^bash: (?:line \d+: )?(.*): command not found$/gm, 'sh: $1: not found')
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

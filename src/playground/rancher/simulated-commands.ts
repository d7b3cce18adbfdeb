/** Programs of the simulated containers that just-bash does not have, or whose answers depend on the container. */

import { type Command, defineCommand, type ExecResult } from 'just-bash'
import type { Machine, MachineProcess } from './simulated-machine.ts'

const SIGNALS: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  KILL: 9,
  USR1: 10,
  USR2: 12,
  TERM: 15,
  CONT: 18,
  STOP: 19,
}
const KIB = 1024 * 1024

/** A program that writes while it runs, as long as it is not in a shell's pipeline. */
export type LiveProgram = (
  args: readonly string[],
  write: (text: string) => Promise<void>,
  self: MachineProcess,
) => Promise<number>

export const LIVE: Readonly<Record<string, LiveProgram>> = {
  async yes(args, write, self) {
    const { signal } = self.controller
    const text = `${args.join(' ') || 'y'}\n`.repeat(512)
    while (!signal.aborted) {
      await write(text)
      await wait(1, signal)
    }
    return 0
  },
  async ping(args, write, self) {
    const { signal } = self.controller
    const host = args.find((word) => !word.startsWith('-') && !/^\d+$/.test(word)) ?? 'localhost'
    const count = Number(args[args.indexOf('-c') + 1]) || Number.POSITIVE_INFINITY
    await write(`PING ${host} (10.42.1.9): 56 data bytes\n`)
    for (let n = 0; n < (args.includes('-c') ? count : Number.POSITIVE_INFINITY) && !signal.aborted; n++) {
      await write(`64 bytes from 10.42.1.9: seq=${n} ttl=62 time=0.${400 + n} ms\n`)
      await wait(1000, signal)
    }
    return 0
  },
  /** Hangs as on a dead network disk: no signal ends it, so that "still running" can be seen. */
  async stuck(_args, write, self) {
    self.stuck = true
    await write('waiting for a disk that does not answer\n')
    await wait(2 ** 31 - 1, self.controller.signal)
    return 0
  },
}

/** The one program of an image without a shell. */
export const SCRATCH: LiveProgram = async (args, write) => {
  await write(args.includes('--version') ? 'app 4.2.0\n' : 'usage: app --version\n')
  return args.includes('--version') ? 0 : 2
}

export function commandsOf(machine: Machine, self: MachineProcess): Command[] {
  const { container, hostNumber, number } = machine
  const total = (4 + hostNumber('memory', 4) * 4) * KIB
  const used = Math.floor((total * (20 + hostNumber('memory used', 50))) / 100)

  return [
    defineCommand('uptime', async () => {
      const minutes = Math.floor((Date.now() - machine.bootMs) / 60_000)
      const clock = new Date().toISOString().slice(11, 19)
      const hours = `${Math.floor(minutes / 60) % 24}:${String(minutes % 60).padStart(2, '0')}`
      return out(
        ` ${clock} up ${Math.floor(minutes / 1440)} days, ${hours.padStart(5)},  0 users,  load average: ${loads(machine)}\n`,
      )
    }),
    defineCommand('hostname', async () => out(`${container.hostname}\n`)),
    defineCommand('nproc', async () => out(`${[2, 4, 8][hostNumber('cpus', 3)]}\n`)),
    defineCommand('whoami', async () => out('root\n')),
    defineCommand('id', async (args) => out(args.includes('-u') ? '0\n' : 'uid=0(root) gid=0(root) groups=0(root)\n')),
    defineCommand('uname', async (args) => {
      const all = `Linux ${container.hostname} 4.19.0-26-amd64 #1 SMP Debian 4.19.304-1 x86_64 Linux`
      if (args.includes('-a')) return out(`${all}\n`)
      return out(args.includes('-r') ? '4.19.0-26-amd64\n' : args.includes('-n') ? `${container.hostname}\n` : 'Linux\n')
    }),
    defineCommand('df', async (args) => {
      const size = 40 * KIB
      const taken = Math.floor((size * (35 + number('disk', 60))) / 100)
      const show = (kib: number): string => (args.some((one) => /^-.*h/.test(one)) ? human(kib) : String(kib))
      const percent = `${Math.ceil((taken * 100) / size)}%`
      const row = (...cells: string[]): string =>
        cells
          .map((cell, i) => (i === 0 || i === 5 ? cell.padEnd(20) : cell.padStart(10)))
          .join(' ')
          .trimEnd()
      return out(
        `${row('Filesystem', args.some((one) => /^-.*h/.test(one)) ? 'Size' : '1K-blocks', 'Used', 'Available', 'Use%', 'Mounted on')}\n` +
          `${row('overlay', show(size), show(taken), show(size - taken), percent, args.find((one) => one.startsWith('/')) ?? '/')}\n`,
      )
    }),
    defineCommand('free', async (args) => {
      const unit = args.includes('-m') ? 1024 : 1
      const cells = (...values: (number | string)[]): string =>
        values.map((one) => String(typeof one === 'number' ? Math.floor(one / unit) : one).padStart(12)).join('')
      return out(
        `${'     '}${cells('total', 'used', 'free', 'shared', 'buff/cache', 'available')}\n` +
          `Mem: ${cells(total, used, Math.floor((total - used) / 2), 1024, Math.ceil((total - used) / 2), total - used)}\nSwap:${cells(0, 0, 0)}\n`,
      )
    }),
    defineCommand('ps', async (args) => {
      const child = await machine.spawn(['ps', ...args], self.argv[0] === 'ps' ? undefined : self)
      const listed = machine.processes().filter((one) => self.argv[0] !== 'ps' || one.pid !== child.pid)
      await machine.reap(child)
      return out(processTable(listed, args.join(' ')))
    }),
    defineCommand('top', async (args) => {
      if (!args.some((one) => /^-?[a-z]*b/.test(one))) return { stdout: '', stderr: 'top: no terminal: use -b\n', exitCode: 1 }
      const head = `Mem: ${used}K used, ${total - used}K free\nCPU:  ${number('cpu', 60)}% usr   2% sys   0% nic  ${96 - number('cpu', 60)}% idle\nLoad average: ${loads(machine)} 1/${120 + number('threads', 90)} ${self.pid}\n`
      const rows = machine
        .processes()
        .map(
          (one) =>
            `${String(one.pid).padStart(5)} ${String(one.ppid).padStart(5)} root     S     ${String(number(`vsz ${one.pid}`, 90_000)).padStart(6)}   0%   ${shown(one)}`,
        )
      return out(`${head}  PID  PPID USER     STAT   VSZ  %CPU COMMAND\n${rows.join('\n')}\n`)
    }),
    defineCommand('sleep', async (args, ctx) => {
      const seconds = args.map(secondsOf)
      if (args.length === 0 || seconds.some(Number.isNaN))
        return { stdout: '', stderr: `sleep: invalid number '${args[0] ?? ''}'\n`, exitCode: 1 }
      const direct = self.argv[0]?.split('/').pop() === 'sleep'
      const child = direct ? self : await machine.spawn(['sleep', ...args], self, self.environ)
      const ended = AbortSignal.any([child.controller.signal, ...(ctx.signal ? [ctx.signal] : [])])
      await wait(seconds.reduce((a, b) => a + b, 0) * 1000, ended)
      if (!direct) await machine.reap(child)
      return { stdout: '', stderr: '', exitCode: child.signal === undefined ? 0 : 128 + child.signal }
    }),
    // Only the form that matters to others: `trap '' TERM` makes this shell and what it starts ignore the signal.
    defineCommand('trap', async (args) => {
      if (args[0] === '') for (const name of args.slice(1)) self.ignored.add(numberOf(name))
      return out('')
    }),
    defineCommand('kill', async (args) => kill(machine, args)),
    defineCommand('yes', async (args) => out(`${args.join(' ') || 'y'}\n`.repeat(32 * 1024))),
    ...(/web|nginx/.test(container.image)
      ? [
          defineCommand('nginx', async (args) => {
            if (args[0] === '-t')
              return { stdout: '', stderr: 'nginx: configuration file /etc/nginx/nginx.conf test is successful\n', exitCode: 0 }
            return { stdout: '', stderr: 'nginx version: nginx/1.25.3\n', exitCode: 0 }
          }),
        ]
      : []),
    ...(/postgres/.test(container.image)
      ? [defineCommand('psql', async () => out(' ?column? \n----------\n        1\n(1 row)\n\n'))]
      : []),
    ...(/api|worker|auth/.test(container.image) ? [defineCommand('node', async () => out('v18.19.0\n'))] : []),
  ]
}

function kill(machine: Machine, args: readonly string[]): ExecResult {
  const words = [...args]
  let signal = 15
  const first = words[0] ?? ''
  if (first === '-l') return out(`${Object.keys(SIGNALS).join(' ')}\n`)
  if (first === '-s' || first === '-n') signal = numberOf(words.splice(0, 2)[1] ?? '')
  else if (/^-[A-Z0-9]+$/i.test(first) && words.length > 1) signal = numberOf(words.shift()?.slice(1) ?? '')
  if (words[0] === '--') words.shift()
  if (Number.isNaN(signal) || words.length === 0) return { stdout: '', stderr: 'sh: kill: bad signal or no pid\n', exitCode: 1 }
  const missing = words.filter((word) => !/^-?\d+$/.test(word) || !machine.signal(Number(word), signal))
  return {
    stdout: '',
    stderr: missing.map((word) => `sh: can't kill pid ${word}: No such process\n`).join(''),
    exitCode: missing.length > 0 ? 1 : 0,
  }
}

function processTable(processes: readonly MachineProcess[], args: string): string {
  const spent = (one: MachineProcess): string => `${Math.floor((Date.now() - one.startedMs) / 60_000)}:00`
  if (/aux/.test(args)) {
    const rows = processes.map(
      (one) => `root     ${String(one.pid).padStart(8)}  0.0  0.1   2600  1600 ?        Ss   10:00   ${spent(one)} ${shown(one)}`,
    )
    return `USER          PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\n${rows.join('\n')}\n`
  }
  if (/-e?f/.test(args)) {
    const rows = processes.map(
      (one) => `root     ${String(one.pid).padStart(7)} ${String(one.ppid).padStart(7)}  0 10:00 ?        00:00:00 ${shown(one)}`,
    )
    return `UID          PID    PPID  C STIME TTY          TIME CMD\n${rows.join('\n')}\n`
  }
  const rows = processes.map((one) => `${String(one.pid).padStart(5)} root      ${spent(one)} ${shown(one)}`)
  return `  PID USER     TIME  COMMAND\n${rows.join('\n')}\n`
}

/** What a line of `ps` shows of a command: one line, cut where busybox cuts it when there is no terminal. */
function shown(process: MachineProcess): string {
  return process.argv.join(' ').replace(/\s+/g, ' ').slice(0, 80)
}

function loads(machine: Machine): string {
  const at = (words: string): string => (machine.hostNumber(words, 180) / 100).toFixed(2)
  return `${at('load 1')}, ${at('load 5')}, ${at('load 15')}`
}

function human(kib: number): string {
  return kib >= KIB ? `${(kib / KIB).toFixed(1)}G` : `${(kib / 1024).toFixed(1)}M`
}

function secondsOf(word: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?|\.\d+)([smhd]?)$/.exec(word) ?? []
  return Number(number) * ({ s: 1, m: 60, h: 3600, d: 86_400 }[unit || 's'] ?? Number.NaN)
}

function numberOf(signal: string): number {
  return /^\d+$/.test(signal) ? Number(signal) : (SIGNALS[signal.toUpperCase().replace(/^SIG/, '')] ?? Number.NaN)
}

function out(stdout: string): ExecResult {
  return { stdout, stderr: '', exitCode: 0 }
}

/** Settles early when the signal aborts; longer than a timer can be is as good as for ever. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, Math.min(ms, 2 ** 31 - 1))
    signal.addEventListener('abort', done)
  })
}

/** An engine for the pretend Rancher that runs commands as real local processes: a real `sh`, real pipes, real signals, no container. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  isShell,
  neverStarted,
  type PeerEnd,
  type PeerEngine,
  type PeerProcess,
  startErrorText,
} from '../../src/playground/rancher/engine.ts'

const PATH = '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin'
/** Dockerd waits this long for pipes that a background child keeps open, then ends the exec. */
const STREAMS_GRACE_MS = 2000
const ERRNO: Readonly<Record<string, string>> = { 2: 'ENOENT', 13: 'EACCES' }

/**
 * Gives the command a terminal of its own as session leader and copies bytes both ways. File descriptor 3 brings window sizes in
 * (`cols,rows`) and tells the command's pid (`p123`) or why it could not be started (`e2`, an errno).
 */
const PTY_BRIDGE = `
import fcntl, os, pty, select, struct, sys, termios
os.set_inheritable(3, False)
pid, master = pty.fork()
if pid == 0:
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as e:
        os.write(3, b'e%d\\n' % e.errno)
    os._exit(127)
os.write(3, b'p%d\\n' % pid)
os.set_blocking(master, False)
sources, typed = [3, 0, master], b''
while master in sources:
    readable, writable, _ = select.select(sources if len(typed) < 65536 else [s for s in sources if s != 0], [master] if typed else [], [])
    if writable:
        try:
            typed = typed[os.write(master, typed):]
        except BlockingIOError:
            pass
    for fd in readable:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            continue
        except OSError:
            data = b''
        if not data:
            sources.remove(fd)
        elif fd == 3:
            cols, rows = data.decode().split()[-1].split(',')
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', int(rows), int(cols), 0, 0))
        elif fd == 0:
            typed += data
        else:
            while data:
                data = data[os.write(1, data):]
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
`

/** `close` kills by process group what is still there of all that it started. */
export function processEngine(
  options: { readonly python?: string } = {},
): PeerEngine & { readonly dir: string; pids(): readonly number[] } {
  const dir = mkdtempSync(join(tmpdir(), 'drover-peer-'))
  const children = new Set<ChildProcess>()
  const groups = new Set<number>()
  const killAll = (): void => {
    for (const group of groups) killGroup(group)
  }
  process.once('exit', killAll)

  return {
    dir,
    pids: () => [...children].flatMap((child) => (child.pid === undefined ? [] : [child.pid])),
    exec(container, spec) {
      const [file = '', ...args] = spec.argv
      if (!container.shell && isShell(file)) return neverStarted(startErrorText(file))
      const env = { PATH, CONTAINER: container.name, ...(spec.tty ? { TERM: 'xterm' } : {}) }
      const common = { cwd: dir, env, detached: true } as const
      let child: ChildProcess
      try {
        child = spec.tty
          ? spawn(options.python ?? '/usr/bin/python3', ['-Sc', PTY_BRIDGE, file, ...args], {
              ...common,
              stdio: ['pipe', 'pipe', 'ignore', 'pipe'],
            })
          : spawn(file, args, { ...common, stdio: [spec.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'] })
      } catch (error) {
        // The engine's init fails inside the container: recorded as output, not as a failure to start [REC 9].
        if ((error as NodeJS.ErrnoException).code !== 'E2BIG') throw error
        return neverStarted(`exec ${file.includes('/') ? file : `/bin/${file}`}: argument list too long\r\n`)
      }
      const own: number[] = child.pid === undefined ? [] : [child.pid]
      for (const group of own) groups.add(group)
      children.add(child)
      return processOf(child, file, spec.tty, {
        started(pid) {
          own.push(pid)
          groups.add(pid)
        },
        kill: () => own.forEach(killGroup),
        gone() {
          children.delete(child)
          // A group that is empty may be another's tomorrow; what a leader left behind is still ours to end.
          for (const group of own) if (!groupExists(group)) groups.delete(group)
        },
      })
    },
    async close() {
      process.off('exit', killAll)
      killAll()
      // One that has exited already says so no second time, though its pipes may still be open.
      const running = [...children].filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
      await Promise.all(running.map((child) => new Promise((resolve) => child.once('exit', resolve))))
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

function processOf(
  child: ChildProcess,
  file: string,
  tty: boolean,
  owner: { started(pid: number): void; kill(): void; gone(): void },
): PeerProcess {
  let output: (stream: 'stdout' | 'stderr', data: Uint8Array) => void = () => {}
  let errno: string | undefined
  child.stdout?.on('data', (data: Buffer) => output('stdout', data))
  child.stderr?.on('data', (data: Buffer) => output('stderr', data))
  const waiting = new Set<() => void>()
  child.stdin?.on('error', () => {})
  child.stdin?.on('close', () => {
    for (const taken of waiting) taken()
  })
  const control = child.stdio[3] as Socket | null | undefined
  control?.on('error', () => {})
  control?.on('data', (data: Buffer) => {
    for (const [, what, number = ''] of data.toString().matchAll(/([pe])(\d+)\n/g)) {
      if (what === 'p') owner.started(Number(number))
      else errno = ERRNO[number] ?? 'ENOENT'
    }
  })

  const ended = new Promise<PeerEnd>((resolve) => {
    const notStarted = (code: string | undefined): void =>
      resolve({ startError: startErrorText(file, code === 'EACCES' ? 'not-executable' : 'missing') })
    child.once('error', (error: NodeJS.ErrnoException) => {
      owner.gone()
      notStarted(error.code)
    })
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      owner.gone()
      if (errno !== undefined) notStarted(errno)
      else resolve({ code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) })
    }
    child.once('close', finish)
    child.once('exit', (code, signal) => {
      child.stdin?.destroy()
      setTimeout(() => finish(code, signal), STREAMS_GRACE_MS).unref()
    })
  })

  return {
    onOutput(callback) {
      output = callback
    },
    write: (data) =>
      new Promise((resolve) => {
        if (!child.stdin?.writable) return resolve()
        const taken = (): void => {
          waiting.delete(taken)
          resolve()
        }
        waiting.add(taken)
        child.stdin.write(data, taken)
      }),
    endInput() {
      if (!tty) child.stdin?.end()
    },
    resize(columns, rows) {
      if (control?.writable) control.write(`${columns},${rows}\n`)
    },
    pause: () => child.stdout?.pause(),
    resume: () => child.stdout?.resume(),
    kill: owner.kill,
    ended,
  }
}

function killGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // Nothing of it is left.
  }
}

function groupExists(group: number): boolean {
  try {
    process.kill(-group, 0)
    return true
  } catch {
    return false
  }
}

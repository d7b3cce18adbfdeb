/** One simulated container: its files, its processes and what its host looks like from inside. Nothing real runs. */

import { createHash } from 'node:crypto'
import { InMemoryFs } from 'just-bash'
import type { EngineContainer } from './engine.ts'

export type MachineProcess = {
  readonly pid: number
  readonly ppid: number
  readonly group: number
  readonly argv: readonly string[]
  readonly environ: Readonly<Record<string, string>>
  readonly startedMs: number
  /** Aborted by the signal that ends it. */
  readonly controller: AbortController
  /** Signals that do nothing to it; what it starts inherits them. */
  readonly ignored: Set<number>
  /** In uninterruptible sleep: not even SIGKILL ends it, only the end of its container does. */
  stuck: boolean
  /** The signal that ended it. */
  signal?: number
}

export type Machine = {
  readonly container: EngineContainer
  readonly fs: InMemoryFs
  /** Since when its host has been up. */
  readonly bootMs: number
  /** A number that is the same for the same words in this container. */
  number(words: string, below: number): number
  /** The same for every container of one host. */
  hostNumber(words: string, below: number): number
  processes(): readonly MachineProcess[]
  spawn(argv: readonly string[], parent?: MachineProcess, environ?: Readonly<Record<string, string>>): Promise<MachineProcess>
  reap(process: MachineProcess): Promise<void>
  /** As kill(2): a pid, or minus a group; signal 0 only asks. False: no such process. */
  signal(target: number, signal: number): boolean
  /** The container ends, or one exec of it: nothing survives that. */
  endAll(): void
  endGroup(group: number): void
}

export function createMachine(container: EngineContainer): Machine {
  const fs = new InMemoryFs(filesOf(container))
  const table = new Map<number, MachineProcess>()
  let lastPid = 0
  const seed = (scope: string, words: string, below: number): number =>
    createHash('sha256').update(`${scope} ${words}`).digest().readUInt32BE(0) % below
  const hostNumber = (words: string, below: number): number => seed(container.host, words, below)
  const bootMs = Date.now() - (9 + hostNumber('days up', 40)) * 86_400_000 - hostNumber('minutes up', 1440) * 60_000

  const add = (
    argv: readonly string[],
    parent: MachineProcess | undefined,
    environ: Readonly<Record<string, string>>,
  ): MachineProcess => {
    lastPid++
    const pid = lastPid
    const process: MachineProcess = {
      pid,
      ppid: parent?.pid ?? 0,
      // Every exec leads a group of its own; what it starts stays in it.
      group: parent && parent.pid !== 1 ? parent.group : pid,
      argv,
      environ,
      startedMs: Date.now(),
      controller: new AbortController(),
      ignored: new Set(parent?.ignored),
      stuck: false,
    }
    table.set(pid, process)
    return process
  }

  const main = add(mainOf(container), undefined, {})
  if (/web|nginx/.test(container.image)) {
    lastPid = 6
    add(['nginx: worker process'], main, {})
  }
  lastPid = 11 + seed(container.engineId, 'first pid', 30)

  const end = (process: MachineProcess, signal: number): void => {
    if (process.controller.signal.aborted) return
    process.signal = signal
    process.controller.abort()
  }

  return {
    container,
    fs,
    bootMs,
    hostNumber,
    number: (words, below) => seed(container.engineId, words, below),
    processes: () => [...table.values()].sort((a, b) => a.pid - b.pid),
    async spawn(argv, parent, environ = {}) {
      const process = add(argv, parent, environ)
      const files = Object.entries(procFiles(process))
      await Promise.all(files.map(([name, content]) => fs.writeFile(`/proc/${process.pid}/${name}`, content)))
      return process
    },
    async reap(process) {
      table.delete(process.pid)
      await fs.rm(`/proc/${process.pid}`, { recursive: true, force: true })
    },
    signal(target, signal) {
      const hit = [...table.values()].filter((one) => (target < 0 ? one.group === -target : one.pid === target))
      for (const one of hit) {
        // The first process of a container has no default actions.
        if (signal === 0 || one.pid === 1 || one.stuck || (signal !== 9 && one.ignored.has(signal))) continue
        end(one, signal)
      }
      return hit.length > 0
    },
    endAll() {
      for (const one of table.values()) end(one, 9)
    },
    endGroup(group) {
      for (const one of table.values()) if (one.group === group) end(one, 9)
    },
  }
}

/** As far as scripts look: proc(5). */
function procFiles(process: MachineProcess): Readonly<Record<string, string>> {
  const name = (process.argv[0] ?? '').split('/').pop() ?? ''
  const environ = Object.entries(process.environ).map(([key, value]) => `${key}=${value}\0`)
  return {
    comm: `${name}\n`,
    cmdline: process.argv.map((word) => `${word}\0`).join(''),
    environ: environ.join(''),
    stat: `${process.pid} (${name}) S ${process.ppid} ${process.group} ${process.group} 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0\n`,
  }
}

function mainOf(container: EngineContainer): readonly string[] {
  const { image } = container
  if (/web|nginx/.test(image)) return ['nginx: master process nginx -g daemon off;']
  if (/postgres/.test(image)) return ['postgres']
  if (/api|worker|auth/.test(image)) return ['node', '/srv/app/server.js']
  return [`/usr/bin/${container.name.replace(/-\d+$/, '')}`]
}

function filesOf(container: EngineContainer): Record<string, string> {
  // One of the web containers has drifted from the others: there is something to find.
  const drifted = /web-3$/.test(container.name)
  return {
    '/etc/hostname': `${container.hostname}\n`,
    '/etc/hosts': `127.0.0.1\tlocalhost\n10.42.1.9\t${container.hostname}\n`,
    '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
    '/etc/os-release': 'PRETTY_NAME="Alpine Linux v3.18"\nNAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.18.4\n',
    '/etc/resolv.conf': 'search shop.rancher.internal\nnameserver 169.254.169.250\n',
    '/etc/nginx/nginx.conf': `worker_processes 1;\nevents { worker_connections ${drifted ? 512 : 1024}; }\n`,
    '/srv/app/config.yml': `log_level: info\nworkers: ${drifted ? 2 : 4}\n`,
    '/srv/app/release': `${container.image}\n`,
    '/srv/my dir/notes.txt': 'a directory with a space in its name\n',
    '/var/log/app.log': [
      '2026-11-20T23:58:01Z info listening on :8080',
      '2026-11-20T23:59:12Z warn upstream timed out, retrying',
      '2026-11-21T00:00:00Z info rotated',
      '',
    ].join('\n'),
    '/root/.profile': '',
    '/tmp/.keep': '',
  }
}

/** The runtime spec of a container made for one command: containerd's own default (`ctr oci spec`), with bounds and a list of system calls that are refused. */

import type { Command } from '../../core/model.ts'
import type { Machine } from '../machine.ts'
import { USUAL_CAPABILITIES } from '../wire/capabilities.ts'
import { TMP_OPTIONS } from '../wire/new-container.ts'
import type { ImageConfig } from './image.ts'
import { type Ids, processOf } from './process.ts'
import { seccompFor } from './seccomp.ts'

export type Confinement = {
  readonly network: 'none' | 'host'
  readonly memoryBytes: number
  readonly cpus: number
  readonly processes: number
  /** Without `CAP_`. */
  readonly capabilities?: readonly string[] | undefined
  readonly readOnly?: boolean | undefined
  /** False: the machine's kernel does not count swap, and refuses a limit of it. */
  readonly limitsSwap: boolean
  /** Folders and files of the machine that an administrator named, read-only but for those that say otherwise. */
  readonly mounts: readonly { readonly source: string; readonly target: string; readonly writable?: true | undefined }[]
  /** Files of the machine that its network needs to be of use. */
  readonly hostFiles: readonly string[]
}

const MASKED = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
]
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

const mount = (destination: string, type: string, ...options: readonly string[]) => ({
  destination,
  type,
  source: type,
  options: ['nosuid', ...options],
})
const MOUNTS = [
  mount('/proc', 'proc', 'noexec', 'nodev'),
  mount('/dev', 'tmpfs', 'strictatime', 'mode=755', 'size=65536k'),
  mount('/dev/pts', 'devpts', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'),
  mount('/dev/shm', 'tmpfs', 'noexec', 'nodev', 'mode=1777', 'size=65536k'),
  mount('/dev/mqueue', 'mqueue', 'noexec', 'nodev'),
  mount('/sys', 'sysfs', 'noexec', 'nodev', 'ro'),
  mount('/run', 'tmpfs', 'strictatime', 'mode=755', 'size=65536k'),
]
const bind = (source: string, destination: string, how: 'ro' | 'rw') => ({
  destination,
  type: 'bind',
  source,
  options: ['rbind', how, 'nosuid', 'nodev'],
})
const CPU_PERIOD_US = 100_000

/** Version 1.0.2 of the OCI runtime spec, which runc takes from 1.0 on. */
export function specOfNew(
  id: string,
  from: { readonly image: ImageConfig; readonly command: Command; readonly exec: string; readonly ids: Ids },
  { network, memoryBytes, cpus, processes, limitsSwap, mounts, hostFiles, ...more }: Confinement,
): object {
  const { image, command, exec, ids } = from
  const capabilities = (more.capabilities ?? USUAL_CAPABILITIES).map((name) => `CAP_${name}`)
  const hasTmp = mounts.some(({ target }) => target.replace(/\/+$/, '') === '/tmp')
  const confined = {
    env: [...image.env],
    cwd: image.dir ?? '/',
    noNewPrivileges: true,
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
  }
  const namespaces = ['pid', 'ipc', 'uts', 'mount', ...(network === 'none' ? ['network'] : [])]
  return {
    ociVersion: '1.0.2',
    // No entrypoint of the image stands before what was judged.
    process: processOf(confined, command, exec, ids),
    root: { path: 'rootfs', ...(more.readOnly ? { readonly: true } : {}) },
    hostname: 'drover',
    mounts: [
      ...MOUNTS,
      ...(more.readOnly && !hasTmp ? [{ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: TMP_OPTIONS }] : []),
      ...hostFiles.map((path) => bind(path, path, 'ro')),
      ...mounts.map(({ source, target, writable }) => bind(source, target, writable ? 'rw' : 'ro')),
    ],
    linux: {
      cgroupsPath: `/drover/${id}`,
      namespaces: namespaces.map((type) => ({ type })),
      resources: {
        // What every container has (null, zero, tty, …) runc adds.
        devices: [{ allow: false, access: 'rwm' }],
        // The same: no swap beside it.
        memory: { limit: memoryBytes, ...(limitsSwap ? { swap: memoryBytes } : {}) },
        cpu: { quota: Math.round(cpus * CPU_PERIOD_US), period: CPU_PERIOD_US },
        pids: { limit: processes },
      },
      maskedPaths: MASKED,
      readonlyPaths: READ_ONLY,
      seccomp: seccompFor(image.architecture),
    },
  }
}

/** What this machine's kernel and files let a container have. */
export async function confinementOf(
  { readText }: Pick<Machine, 'readText'>,
  network: Confinement['network'],
): Promise<Pick<Confinement, 'limitsSwap' | 'hostFiles'>> {
  const isThere = async (path: string) => (await readText(path)) !== undefined
  // The older cgroups have the file only where swap is counted; with the newer ones runc passes over what cannot be had.
  const limitsSwap =
    !(await isThere(`${MEMORY}/memory.limit_in_bytes`)) || (await isThere(`${MEMORY}/memory.memsw.limit_in_bytes`))
  const hostFiles = []
  if (network === 'host') for (const path of ['/etc/resolv.conf', '/etc/hosts']) if (await isThere(path)) hostFiles.push(path)
  return { limitsSwap, hostFiles }
}
const MEMORY = '/sys/fs/cgroup/memory'

/** What a process of a container is called inside it, where drover shares the host's /proc. */

import type { Machine } from '../machine.ts'

/** Undefined when it cannot be told, or when that pid is somebody else's here: drover may live in a container itself. */
export async function pidInside(machine: Machine, pid: number, container: string): Promise<number | undefined> {
  try {
    const cgroup = await machine.readText(`/proc/${pid}/cgroup`)
    if (!cgroup?.split('\n').some((line) => isOf(line, container))) return undefined
    // From the reader's pid namespace to the process's own, proc_pid_status(5).
    const pids = /^NSpid:\s+([\d\s]+)$/m
      .exec((await machine.readText(`/proc/${pid}/status`)) ?? '')?.[1]
      ?.trim()
      .split(/\s+/)
    return pids?.[0] === String(pid) ? Number(pids.at(-1)) : undefined
  } catch {
    return undefined
  }
}

/** `…/<id>`, or systemd's `…/<who>-<id>.scope`. */
function isOf(cgroup: string, container: string): boolean {
  const last = cgroup.slice(cgroup.lastIndexOf('/') + 1)
  return last === container || last.endsWith(`-${container}.scope`)
}

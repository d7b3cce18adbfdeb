/** Processes of a container as the machine's /proc shows them. */

import type { Machine } from '../machine.ts'

/** What a process is called inside its container. Undefined when it cannot be told, or when that pid is somebody else's here: drover may live in a container itself. */
export async function pidInside(machine: Machine, pid: number, container: string): Promise<number | undefined> {
  try {
    const cgroup = await machine.readText(`/proc/${pid}/cgroup`)
    if (cgroup === undefined || !isOf(cgroup, container)) return undefined
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

/** `…/<id>`, or systemd's `…/<who>-<id>.scope`, as the last part of one of the lines. */
export function isOf(cgroups: string, container: string): boolean {
  return cgroups.split('\n').some((line) => {
    const last = line.slice(line.lastIndexOf('/') + 1)
    return last === container || last.endsWith(`-${container}.scope`)
  })
}

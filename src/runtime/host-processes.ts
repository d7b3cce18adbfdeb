/** What /proc tells of all processes, where it is the machine's and not that of a container around drover. */

import { readdir, readFile } from 'node:fs/promises'
import type { ReadCgroups } from '../backends/machine.ts'

export const readCgroups: ReadCgroups = async () => {
  // The kernel's own second thread is in no other pid namespace than the first.
  if ((await text('/proc/2/comm'))?.trim() !== 'kthreadd') return undefined
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = new Map<number, string>()
  for (const pid of pids) {
    const cgroup = await text(`/proc/${pid}/cgroup`)
    if (cgroup !== undefined) found.set(Number(pid), cgroup)
  }
  return found
}

/** Undefined: it is not there, or has just ended. */
async function text(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

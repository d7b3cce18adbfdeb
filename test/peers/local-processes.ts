/** Live processes of this machine by their command line: for engines whose "container" is this machine. */

import { readdirSync, readFileSync } from 'node:fs'

export function localProcesses(needle: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const isZombie = /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        return !isZombie && line.includes(needle) ? [`${pid} ${line}`] : []
      } catch {
        return []
      }
    })
}

/** What drover sees of the machine's processes. */

import { existsSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { readCgroups } from '../../src/runtime/host-processes.ts'

it('every process of the machine is seen with its cgroup, or none where /proc is a container’s', async () => {
  const second = '/proc/2/comm'
  const isMachine = existsSync(second) && readFileSync(second, 'utf8').trim() === 'kthreadd'
  const found = await readCgroups()
  expect(found?.get(process.pid)).toBe(isMachine ? readFileSync('/proc/self/cgroup', 'utf8') : undefined)
  expect(found?.has(1)).toBe(isMachine || undefined)
})

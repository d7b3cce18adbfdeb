/** `exec()` over any backend: what that is told of a command besides its words. */

import { expect, it } from 'vitest'
import type { Target, TargetId } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { exec, over } from '../../src/exec.ts'

const target: Target = {
  id: 'b/1' as TargetId,
  backend: 'b',
  kind: 'containerd',
  native: '1',
  name: 'web',
  labels: {},
  facets: {},
}

it('[bounded] what is made for a command is told how long that lasts, so that a later program sweeps it away in time', async () => {
  const lasting: (number | undefined)[] = []
  const backend: Backend = {
    name: 'b',
    kind: 'containerd',
    traits: { exitCode: true, separateStderr: true, stdin: true, env: true, dir: true, user: true, tty: true, kill: true },
    list: async () => [target],
    async *exec(_target, _command, _exec, _signal, _by, timeoutMs) {
      lasting.push(timeoutMs)
      yield { type: 'exit', code: 0 }
    },
    kill: async () => ({ result: 'gone' }),
    check: async () => [],
    newContainer: ({ image }) => ({ ...target, creates: { image } }),
  }
  const on = over(backend)
  await exec(['true'], { on, image: 'busybox', timeoutMs: 60_000 }).run()
  await exec(['true'], { on, container: 'web' }).run()
  expect(lasting).toEqual([60_000, 3_600_000])
})

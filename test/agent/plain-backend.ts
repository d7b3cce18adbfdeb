/** A backend for the list of an agent: it has a few containers and workloads, and remembers what it was asked to do. */

import { newTarget } from '../../src/backends/wire/new-container.ts'
import { BackendError } from '../../src/core/errors.ts'
import type { Command, ExecEvent, Plan, Rollout, Target, TargetId } from '../../src/core/model.ts'
import type { Backend, Workloads } from '../../src/core/ports.ts'

export type Done =
  | { readonly did: 'exec'; readonly on: Target; readonly command: Command; readonly timeoutMs: number | undefined }
  | { readonly did: 'kill'; readonly on: Target; readonly handle: object }
  | { readonly did: 'sweep' }
  | { readonly did: 'apply'; readonly on: Target; readonly rollout: Rollout }

export const aTarget = (name: string, more: Partial<Target> = {}): Target => ({
  id: `own/${name}` as TargetId,
  backend: 'own',
  kind: 'containerd',
  native: name,
  name,
  labels: {},
  facets: {},
  ...more,
})

export function plainBackend(targets: Target[], events: readonly ExecEvent[] = [{ type: 'exit', code: 0 }]) {
  const done: Done[] = []
  const bounds = { networks: ['none', 'host'], memory: '256m', cpus: 1, processes: 256 }
  const find = async ({ id = '' }) => targets.filter(({ native }) => native.startsWith(id))
  const backend: Backend = {
    name: 'own',
    kind: 'containerd',
    traits: { exitCode: true, separateStderr: true, stdin: true, env: true, dir: true, user: true, tty: true, kill: true },
    list: find,
    async *exec(on, command, exec, _signal, _by, timeoutMs) {
      done.push({ did: 'exec', on, command, timeoutMs })
      yield { type: 'started', handle: { target: on.id, exec } }
      yield* events
    },
    async kill(on, handle) {
      done.push({ did: 'kill', on, handle })
      return { result: 'gone' }
    },
    async sweep() {
      done.push({ did: 'sweep' })
    },
    check: async () => [{ ok: true, what: 'it answers' }],
    newContainer: (wanted) => newTarget({ backend: 'own', kind: 'containerd' }, bounds, wanted),
  }
  const plan: Plan = { facts: [{ name: 'replicas', before: '1', after: '2' }], change: 'a change', seal: 'a seal' }
  const workloads: Workloads = {
    verbs: ['image', 'scale', 'restart', 'undo', 'status'],
    list: async ({ facets = {} }) =>
      targets.filter((one) => Object.entries(facets).every(([facet, value]) => one.facets[facet as 'image'] === value)),
    plan: async () => plan,
    async *apply(on, rollout, planned, exec) {
      if (planned.seal !== plan.seal)
        throw new BackendError({ code: 'changed', message: 'It has changed.', next: 'Look again.' }, { ran: 'no' })
      done.push({ did: 'apply', on, rollout })
      yield { type: 'started', handle: { target: on.id, exec } }
      yield { type: 'exit', code: 0 }
    },
  }
  return { backend, workloads, done }
}

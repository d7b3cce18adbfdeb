/** Workloads that live in memory and keep the port's word: plans that change nothing, one write for each change, an end that is true. */

import { BackendError } from '../../src/core/errors.ts'
import type { ExecEvent, Plan, Rollout, Target, TargetId } from '../../src/core/model.ts'
import type { Backend, Workloads } from '../../src/core/ports.ts'

type Template = { readonly images: Readonly<Record<string, string>>; readonly stamp: number }
export type Workload = {
  readonly target: Target
  template: Template
  replicas: number
  paused: boolean
  revision: number
  readonly history: Map<string, Template>
}

export type Shelf = {
  readonly backend: Backend
  readonly workloads: readonly Workload[]
  /** What was sent, in order. */
  readonly sent: { readonly target: TargetId; readonly verb: Rollout['verb'] }[]
  /** Images that never come up. */
  readonly broken: Set<string>
  /** While set, a change that was taken goes no further. */
  hold: boolean
  /** How the next change fails, after it was or may have been sent. */
  lose: boolean
}

const encoder = new TextEncoder()

export function workload(name: string, more: Partial<Target> = {}): Workload {
  const target: Target = {
    id: `kube/shop:${name}` as TargetId,
    backend: 'kube',
    kind: 'kubernetes',
    native: `shop:${name}`,
    name: `deployment/${name}`,
    labels: { app: name },
    facets: { workload: `deployment/${name}`, service: name, namespace: 'shop' },
    ...more,
  }
  const template = { images: { main: 'repo/app:1' }, stamp: 0 }
  return { target, template, replicas: 3, paused: false, revision: 1, history: new Map([['1', template]]) }
}

export function shelf(workloads: readonly Workload[], verbs?: Workloads['verbs']): Shelf {
  const refuse = (message: string) => new BackendError({ code: 'unsupported', message, next: 'Look with status.' }, { ran: 'no' })
  const find = (target: Target) => {
    const found = workloads.find((one) => one.target.id === target.id)
    if (!found) throw new BackendError({ code: 'backend_not_found', message: `${target.name} is gone.` }, { ran: 'no' })
    return found
  }
  const next = (
    one: Workload,
    rollout: Rollout,
  ): { readonly template?: Template; readonly replicas?: number; readonly paused?: boolean } => {
    switch (rollout.verb) {
      case 'image': {
        const container = rollout.container ?? 'main'
        if (!(container in one.template.images)) throw refuse(`There is no container ${container}; there is main.`)
        return { template: { ...one.template, images: { ...one.template.images, [container]: rollout.image } } }
      }
      case 'undo': {
        const template = one.history.get(rollout.to ?? String(one.revision - 1))
        if (!template) throw refuse('There is nothing to go back to.')
        return { template }
      }
      case 'restart':
        return { template: { ...one.template, stamp: one.template.stamp + 1 } }
      case 'scale':
        return { replicas: rollout.replicas }
      case 'pause':
      case 'resume':
        return { paused: rollout.verb === 'pause' }
      case 'finish':
      case 'status':
        return {}
      default:
        return rollout satisfies never
    }
  }
  const planOf = (target: Target, rollout: Rollout): Plan => {
    const one = find(target)
    const after = next(one, rollout)
    const sends = rollout.verb !== 'status'
    const body = JSON.stringify({
      image: after.template?.images.main,
      stamp: after.template?.stamp,
      replicas: after.replicas,
      paused: after.paused,
    })
    return {
      facts: [
        {
          name: 'image main',
          before: one.template.images.main!,
          ...(after.template ? { after: after.template.images.main! } : {}),
        },
        {
          name: 'replicas',
          before: String(one.replicas),
          ...(after.replicas === undefined ? {} : { after: String(after.replicas) }),
        },
        { name: 'revision', before: String(one.revision) },
      ],
      change: sends ? `PATCH /deployments/${one.target.native}\n${body}` : '',
      seal: `${one.revision}|${one.replicas}|${body}`,
      ...(rollout.verb === 'undo' ? { back: rollout.to ?? String(one.revision - 1) } : {}),
      ...(sends && after.template ? { undo: { to: String(one.revision), says: `image main ${one.template.images.main}` } } : {}),
    }
  }
  const it: Shelf = {
    workloads,
    sent: [],
    broken: new Set(),
    hold: false,
    lose: false,
    backend: {
      name: 'kube',
      kind: 'kubernetes',
      traits: { exitCode: true, separateStderr: true, stdin: true, env: false, dir: false, user: false, tty: true, kill: true },
      list: async () => [],
      exec: () => {
        throw new BackendError({ code: 'not_running', message: 'There is no container here.' }, { ran: 'no' })
      },
      kill: async () => {
        throw new Error('a rollout has nothing to kill')
      },
      check: async () => [],
      workloads: {
        verbs: verbs ?? ['image', 'restart', 'pause', 'resume', 'undo', 'scale', 'status'],
        list: async () => workloads.map(({ target }) => target),
        plan: async (target, rollout) => planOf(target, rollout),
        apply: (target, rollout, plan, exec, signal) => apply(it, find, next, planOf, { target, rollout, plan, exec, signal }),
      },
    },
  }
  return it
}

async function* apply(
  it: Shelf,
  find: (target: Target) => Workload,
  next: (
    one: Workload,
    rollout: Rollout,
  ) => { readonly template?: Template; readonly replicas?: number; readonly paused?: boolean },
  planOf: (target: Target, rollout: Rollout) => Plan,
  { target, rollout, plan, exec, signal }: { target: Target; rollout: Rollout; plan: Plan; exec: string; signal: AbortSignal },
): AsyncGenerator<ExecEvent> {
  if (planOf(target, rollout).seal !== plan.seal)
    throw new BackendError(
      { code: 'changed', message: `${target.name} was changed meanwhile.`, next: 'Ask again.' },
      { ran: 'no' },
    )
  if (rollout.verb === 'status') return yield { type: 'exit', code: 0 }
  const one = find(target)
  const { template = one.template, replicas = one.replicas, paused = one.paused } = next(one, rollout)
  it.sent.push({ target: target.id, verb: rollout.verb })
  if (template !== one.template) one.history.set(String(++one.revision), template)
  Object.assign(one, { template, replicas, paused })
  if (it.lose) throw new BackendError({ code: 'stream_broken', message: 'The answer was lost.' }, { ran: 'maybe' })
  yield { type: 'started', handle: { target: target.id, exec } }
  if (it.hold || it.broken.has(template.images.main!))
    yield { type: 'progress', text: `1 of ${one.replicas} updated, 2 available` }
  while (it.hold) {
    if (signal.aborted) throw new BackendError({ code: 'stream_broken', message: 'No longer watched.' }, { ran: 'maybe' })
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  if (it.broken.has(template.images.main!)) {
    yield { type: 'output', stream: 'stderr', data: encoder.encode(`stuck: pod api-1: ImagePullBackOff\n`) }
    return yield { type: 'exit', code: 1 }
  }
  yield { type: 'progress', text: `${one.replicas} of ${one.replicas} updated, ${one.replicas} available` }
  yield { type: 'exit', code: 0 }
}

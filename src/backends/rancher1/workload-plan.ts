/** What a rollout would change on a service of Rancher 1.x: the requests, the rows of before and after, and the way back. */

import type { Plan, Rollout, Target } from '../../core/model.ts'
import { containerRefused, type Fact, refused, refuseStronger, sealOf } from '../wire/rollout.ts'
import { type Api, parsed, refusal } from './api.ts'
import { configsOf, imageOf, isStrong, type LaunchConfig, nameOf, previousOf, Service, versionOf } from './service.ts'

export type Step = {
  readonly method: 'POST' | 'PUT'
  readonly path: string
  readonly body?: unknown
  /** Of `body`, what may be shown: launch configurations hold environments. */
  readonly shown?: unknown
  /** The state that ends it. */
  readonly goal: string
}
type Draft = {
  readonly service: Service
  readonly facts: readonly Fact[]
  readonly steps: readonly Step[]
  readonly undo?: Plan['undo']
  readonly back?: string
}

/** Between two containers of one upgrade; Rancher's own page sends the same. */
const GENTLY = { batchSize: 1, intervalMillis: 2000 }

export async function read(api: Api, target: Target, signal: AbortSignal): Promise<Service> {
  const response = await api.request('GET', `services/${target.native}`, signal)
  if (response.status !== 200) throw refusal(response, { what: `the service ${target.name}`, project: api.project })
  return parsed(response, Service)
}

/** What would be done, made by looking only. */
export async function draft(api: Api, target: Target, rollout: Rollout, signal: AbortSignal): Promise<Draft> {
  const service = await read(api, target, signal)
  const path = `services/${service.id}/`
  const back = previousOf(service)
  const undo = back && UNDOABLE.includes(service.state) ? { undo: { to: versionOf(back), says: imagesIn(back) } } : {}
  switch (rollout.verb) {
    case 'image':
      return imageDraft(service, path, rollout)
    case 'scale': {
      needs(service, 'update')
      if (isGlobal(service.launchConfig))
        throw refused('unsupported', `${nameOf(service)} runs once on every host; it has no scale.`, 'Add or remove hosts.')
      const body = { scale: rollout.replicas }
      const facts = [{ name: 'replicas', before: String(service.scale ?? '?'), after: String(rollout.replicas) }]
      const goal = service.state === 'upgraded' ? 'upgraded' : 'active'
      return { service, facts, steps: [{ method: 'PUT', path, body, goal }], ...undo }
    }
    case 'restart': {
      needs(service, 'restart')
      const facts = [{ name: 'containers', before: String(service.scale ?? '?'), after: 'each restarted, one after the other' }]
      const body = { rollingRestartStrategy: GENTLY }
      return { service, facts, steps: [{ method: 'POST', path: `${path}?action=restart`, body, goal: 'active' }] }
    }
    case 'finish': {
      needs(service, 'finishupgrade')
      const facts = [{ name: 'containers of before', before: 'stopped, and kept for undo', after: 'removed: no way back' }]
      return { service, facts, steps: [{ method: 'POST', path: `${path}?action=finishupgrade`, goal: 'active' }] }
    }
    case 'undo':
      return undoDraft(target, service, path, rollout.to)
    case 'status':
      return { service, facts: standing(service), steps: [], ...undo }
    case 'pause':
    case 'resume':
      throw refused('unsupported', `Rancher 1.x cannot ${rollout.verb} a service’s upgrades.`, 'Use image, undo or finish.')
    default:
      return rollout satisfies never
  }
}

const UNDOABLE = ['upgraded', 'upgrading', 'canceled-upgrade']

/** The whole configuration goes back with one field changed: what is left out of it would be lost [CT ServiceUpgradeValidationFilter]. */
function imageDraft(service: Service, path: string, rollout: Extract<Rollout, { verb: 'image' }>): Draft {
  const configs = configsOf(service)
  const names = [...configs.keys()]
  const container = rollout.container ?? (names.length === 1 ? names[0] : undefined)
  const config = container === undefined ? undefined : configs.get(container)
  if (container === undefined || config === undefined) throw containerRefused(nameOf(service), rollout.container, names)
  needs(service, 'upgrade')
  const next = { ...config, imageUuid: `docker:${rollout.image}` }
  const rest = `the other ${Object.keys(next).length - 1} fields as they are`
  const isPrimary = config === service.launchConfig
  const given = (one: unknown) => (isPrimary ? { launchConfig: one } : { secondaryLaunchConfigs: [one] })
  const strategy = { ...GENTLY, startFirst: false }
  const shown = { ...(isPrimary ? {} : { name: container }), imageUuid: next.imageUuid, '…': rest }
  return {
    service,
    facts: [{ name: `image ${container}`, before: imageOf(config) ?? '?', after: rollout.image }],
    steps: [
      {
        method: 'POST',
        path: `${path}?action=upgrade`,
        body: { inServiceStrategy: { ...strategy, ...given(next) } },
        shown: { inServiceStrategy: { ...strategy, ...given(shown) } },
        goal: 'upgraded',
      },
    ],
    undo: { to: versionOf(configs), says: `${imagesIn(configs)}, until it is finished` },
  }
}

/** Rancher keeps what it was before the last upgrade, and that only until `finish`. */
function undoDraft(target: Target, service: Service, path: string, to: string | undefined): Draft {
  const back = previousOf(service)
  if (back === undefined || !UNDOABLE.includes(service.state))
    throw refused(
      'unsupported',
      `There is nothing to go back to: ${nameOf(service)} is ${service.state}, and Rancher keeps what was before only until an upgrade is finished.`,
      'rollout image sets the image that it had.',
    )
  if (to !== undefined && to !== versionOf(back))
    throw refused('usage', `Rancher kept only ${versionOf(back)} (${imagesIn(back)}).`, 'Leave to= out.')
  refuseStronger(target, [...back.values()].some(isStrong))
  const stopFirst = service.state === 'upgrading'
  needs(service, stopFirst ? 'cancelupgrade' : 'rollback')
  const now = configsOf(service)
  const facts = [...back].flatMap(([name, config]) => {
    const [before, after] = [imageOf(now.get(name)) ?? '?', imageOf(config) ?? '?']
    return before === after ? [] : [{ name: `image ${name}`, before, after }]
  })
  const cancel = { method: 'POST', path: `${path}?action=cancelupgrade`, goal: 'canceled-upgrade' } as const
  return {
    service,
    back: versionOf(back),
    facts: facts.length > 0 ? facts : [{ name: 'state', before: service.state, after: 'as before the upgrade' }],
    steps: [...(stopFirst ? [cancel] : []), { method: 'POST', path: `${path}?action=rollback`, goal: 'active' }],
  }
}

/** An action is there when the state and the key's role allow it. */
function needs(service: Service, action: string): void {
  if (Object.hasOwn(service.actions ?? {}, action)) return
  const name = nameOf(service)
  if (service.state === 'upgraded')
    throw refused('unsupported', `The last upgrade of ${name} is not finished yet.`, 'First rollout finish, or rollout undo.')
  if (service.state === 'active' || Object.keys(service.actions ?? {}).length === 0)
    throw refused(
      'backend_forbidden',
      `The API key’s role may not change the service ${name}.`,
      'Use a key of an owner or member of the environment, or an environment key.',
    )
  throw refused(
    'unsupported',
    `${name} is ${service.state}: Rancher does not offer that now.`,
    'rollout status shows how it stands, and ask again then.',
  )
}

function standing(service: Service): readonly Fact[] {
  const back = previousOf(service)
  return [
    { name: 'state', before: service.state },
    { name: 'health', before: service.healthState ?? 'unknown' },
    { name: 'replicas', before: `${service.currentScale ?? '?'} of ${service.scale ?? '?'}` },
    { name: 'revision', before: versionOf(configsOf(service)) },
    ...[...configsOf(service)].map(([name, config]) => ({ name: `image ${name}`, before: imageOf(config) ?? '?' })),
    ...(back && UNDOABLE.includes(service.state) ? [{ name: 'can go back to', before: imagesIn(back) }] : []),
  ]
}

export function imagesIn(configs: ReadonlyMap<string, LaunchConfig>): string {
  return [...configs].map(([name, config]) => `${name} ${imageOf(config) ?? '?'}`).join(', ')
}

function isGlobal(config: LaunchConfig | null | undefined): boolean {
  const labels = config?.labels
  return typeof labels === 'object' && labels !== null && 'io.rancher.scheduler.global' in labels
}

export async function planOf({ service, facts, steps, undo, back }: Draft): Promise<Plan> {
  // Cattle has no generation: all that an upgrade would replace stands for it.
  const { id, state, scale, launchConfig, secondaryLaunchConfigs } = service
  const change = steps.map((one) =>
    [`${one.method} ${one.path}`, ...(one.body === undefined ? [] : [JSON.stringify(one.shown ?? one.body)])].join('\n'),
  )
  return {
    facts,
    change: change.join('\n\n'),
    seal: await sealOf({ steps, id, state, scale, launchConfig, secondaryLaunchConfigs, upgrade: service.upgrade ?? null }),
    ...(undo ? { undo } : {}),
    ...(back === undefined ? {} : { back }),
  }
}

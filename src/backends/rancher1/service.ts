/** A Rancher 1.x service as drover's target, and how it stands while it is upgraded. */

import * as z from 'zod'
import type { Facet, Part, Target, TargetId } from '../../core/model.ts'
import { type Look, oneLine, type Trouble } from '../wire/rollout.ts'
import { Container, isPrivileged, strength } from './container.ts'

/** Sent back whole, so it is kept as it came. */
const LaunchConfig = z.record(z.string(), z.unknown())
export type LaunchConfig = z.infer<typeof LaunchConfig>

/** Field names: rancher/go-rancher v2/generated_service.go, generated_in_service_upgrade_strategy.go. */
export const Service = z.object({
  id: z.string(),
  type: z.string(),
  name: z.string().nullish(),
  state: z.string(),
  transitioning: z.string().nullish(),
  transitioningMessage: z.string().nullish(),
  healthState: z.string().nullish(),
  scale: z.number().nullish(),
  currentScale: z.number().nullish(),
  stackId: z.string().nullish(),
  /** What /v1 calls `stackId`. */
  environmentId: z.string().nullish(),
  system: z.boolean().nullish(),
  launchConfig: LaunchConfig.nullish(),
  secondaryLaunchConfigs: z.array(LaunchConfig).nullish(),
  upgrade: z
    .object({
      inServiceStrategy: z
        .object({
          previousLaunchConfig: LaunchConfig.nullish(),
          previousSecondaryLaunchConfigs: z.array(LaunchConfig).nullish(),
        })
        .nullish(),
    })
    .nullish(),
  actions: z.record(z.string(), z.unknown()).nullish(),
})
export type Service = z.infer<typeof Service>

export const Stack = z.object({ id: z.string(), name: z.string().nullish() })

export const Instance = z.object({
  id: z.string(),
  name: z.string().nullish(),
  state: z.string(),
  imageUuid: z.string().nullish(),
  healthState: z.string().nullish(),
  transitioning: z.string().nullish(),
  transitioningMessage: z.string().nullish(),
})
export type Instance = z.infer<typeof Instance>

/** The kinds of service that hold containers of an image; DNS aliases and external addresses do not. */
export const UPGRADABLE = ['service', 'loadBalancerService']

export function nameOf(service: Service): string {
  return service.name || service.id
}

export function imageOf(config: LaunchConfig | null | undefined): string | undefined {
  const uuid = config?.imageUuid
  return typeof uuid === 'string' ? uuid.replace(/^docker:/, '') : undefined
}

/** By container name as people type it: the service's own name, then its sidekicks. */
export function configsOf(
  service: Service,
  primary: LaunchConfig | null | undefined = service.launchConfig,
  sidekicks: readonly LaunchConfig[] | null | undefined = service.secondaryLaunchConfigs,
): ReadonlyMap<string, LaunchConfig> {
  return new Map([
    ...(primary ? [[nameOf(service), primary] as const] : []),
    ...(sidekicks ?? []).map((one) => [String(one.name), one] as const),
  ])
}

export function previousOf(service: Service): ReadonlyMap<string, LaunchConfig> | undefined {
  const strategy = service.upgrade?.inServiceStrategy
  if (!strategy?.previousLaunchConfig) return undefined
  return configsOf(service, strategy.previousLaunchConfig, strategy.previousSecondaryLaunchConfigs)
}

/** For people to type: each upgrade gives the configurations that it changes a version of their own, `0` or a UUID [CT ServiceUpgradeValidationFilter.setVersion]. */
export function versionOf(configs: ReadonlyMap<string, LaunchConfig>): string {
  return [...configs.values()].map((one) => String(one.version ?? '0').slice(0, 8)).join('_')
}

export function targetOf(service: Service, backend: string, stacks: ReadonlyMap<string, string>): Target {
  const name = nameOf(service)
  const stack = service.stackId ?? service.environmentId
  const labels = labelsOf(service.launchConfig)
  const facets: Partial<Record<Facet, string | undefined>> = {
    workload: `service/${name}`,
    service: name,
    stack: stack ? (stacks.get(stack) ?? stack) : undefined,
    image: imageOf(service.launchConfig),
  }
  return {
    id: `${backend}/${service.id}` as TargetId,
    backend,
    kind: 'rancher1',
    native: service.id,
    name: `service/${name}`,
    labels,
    facets: Object.fromEntries(Object.entries(facets).filter(([, value]) => value)),
    ...(service.system || labels['io.rancher.container.system'] ? { system: true } : {}),
    ...([...configsOf(service).values()].some(isStrong) ? { privileged: true } : {}),
    parts: [...configsOf(service)].map(([container, config]) => partOf(service, container, config)),
  }
}

/** A sidekick has labels of its own, and its service facet is that of its containers: `service/sidekick`. */
function partOf(service: Service, container: string, config: LaunchConfig): Part {
  const name = nameOf(service)
  const image = imageOf(config)
  const facets = {
    container,
    service: config === service.launchConfig ? name : `${name}/${container}`,
    ...(image ? { image } : {}),
  }
  return { labels: labelsOf(config), facets }
}

function labelsOf(config: LaunchConfig | null | undefined): Readonly<Record<string, string>> {
  const given = config?.labels
  if (typeof given !== 'object' || given === null) return {}
  return Object.fromEntries(Object.entries(given).map(([key, value]) => [key, String(value)]))
}

const Strong = Container.pick(strength)

/** What cannot be read is taken for the worst. */
export function isStrong(config: LaunchConfig): boolean {
  const found = Strong.safeParse(config)
  return !found.success || isPrivileged(found.data)
}

/** `goal` is the state that ends what was asked for. */
export function lookAt(service: Service, instances: readonly Instance[], goal: string): Look {
  const { state } = service
  const health = service.healthState ?? 'healthy'
  const wanted = [...configsOf(service).values()].map((one) => one.imageUuid)
  const fresh = instances.filter((one) => one.state === 'running' && wanted.includes(one.imageUuid)).length
  const all = (service.scale ?? 0) * wanted.length
  const troubles = troublesOf(instances)
  const text = `${state}: ${fresh} of ${all} containers run as wanted${health === 'healthy' ? '' : `, ${health}`}`
  // `started-once` is the health of services whose containers end by themselves.
  const isHealthy = ['healthy', 'started-once'].includes(health)
  if (state === goal && service.transitioning !== 'yes' && isHealthy) return { status: 'done', text }
  if (
    ['removing', 'removed', 'purged', 'erroring', 'error'].includes(state) ||
    (state.startsWith('cancel') && !goal.startsWith('cancel'))
  )
    return { status: 'stuck', why: `the service is ${state}`, troubles }
  return { status: 'going', text, mark: `${state} ${fresh} ${instances.length} ${health}`, troubles }
}

export function troublesOf(instances: readonly Instance[]): readonly InstanceTrouble[] {
  return instances.flatMap(troubleOf)
}

/** `id`: the container whose log may say more. */
export type InstanceTrouble = Trouble & { readonly id: string }

function troubleOf(one: Instance): readonly InstanceTrouble[] {
  const isFailed = one.transitioning === 'error' || one.state === 'error' || one.state === 'erroring'
  if (!isFailed && one.healthState !== 'unhealthy') return []
  const why = isFailed ? oneLine(one.transitioningMessage ?? one.state) : 'unhealthy'
  return [{ who: one.name || one.id, why, id: one.id }]
}

/** The services of a pretend Rancher: launch configurations, the actions of an upgrade, and a small orchestrator that moves containers. */

import type { PeerContainer, PeerContainerSpec, PeerGroup, World } from './containers.ts'
import { uuidOf } from './containers.ts'
import { ApiError } from './http-api.ts'
import type { Role } from './keys.ts'
import type { Resource, View } from './resources.ts'

type Json = Readonly<Record<string, unknown>>
type Strategy = {
  readonly launchConfig: Json
  readonly secondaryLaunchConfigs: readonly Json[]
  readonly previousLaunchConfig: Json
  readonly previousSecondaryLaunchConfigs: readonly Json[]
  readonly batchSize: number
  readonly intervalMillis: number
  readonly startFirst: boolean
}

type Service = {
  readonly group: PeerGroup
  scale: number
  state: string
  launchConfig: Json
  secondaryLaunchConfigs: readonly Json[]
  upgrade: { readonly inServiceStrategy: Strategy; readonly toServiceStrategy: null } | null
  /** Counts the launch configurations, so that each has a version of its own. */
  upgrades: number
  /** Ends the orchestration that runs: what it had still to do is dropped. */
  turn: number
}

export type ServicesHost = {
  readonly world: World
  readonly begin: (container: PeerContainer) => void
  readonly end: (container: PeerContainer, state: string) => void
  readonly add: (specs: readonly PeerContainerSpec[]) => readonly PeerContainer[]
  readonly later: (ms: number, act: () => void) => void
  /** What a stop or a start of one container takes here, in ms; the strategy's own interval is not waited for. */
  readonly paceMs: () => number
}

export type Services = ReturnType<typeof createServices>

/** Labels that the platform writes are not in the launch configuration. */
const isOwnLabel = ([key]: readonly [string, string]): boolean => !key.startsWith('io.rancher.stack') && !isPlatform(key)
const isPlatform = (key: string): boolean =>
  key.startsWith('io.rancher.project') ||
  key === 'io.rancher.service.launch.config' ||
  key.startsWith('io.rancher.service.deploy')

export function createServices(host: ServicesHost) {
  const { world } = host
  const known = new Map<number, Service>()

  const living = (row: number): readonly PeerContainer[] =>
    world.containers.filter((one) => one.serviceRow === row && !['removed', 'purged'].includes(one.state))
  const configOf = (container: PeerContainer, version: string): Json => ({
    type: 'launchConfig',
    kind: 'container',
    imageUuid: `docker:${container.image}`,
    labels: Object.fromEntries(Object.entries(container.labels).filter(isOwnLabel)),
    environment: container.spec.environment ?? {},
    privileged: container.spec.privileged ?? false,
    capAdd: container.spec.capAdd ?? [],
    networkMode: 'managed',
    ports: [],
    dataVolumes: [],
    startOnCreate: true,
    stdinOpen: true,
    tty: true,
    memory: null,
    ...(container.spec.sidekick === undefined ? {} : { name: container.spec.sidekick, type: 'secondaryLaunchConfig' }),
    version,
  })

  const serviceOf = (group: PeerGroup): Service => {
    const found = known.get(group.row)
    if (found) return found
    const own = living(group.row)
    const primary = own.filter((one) => one.spec.sidekick === undefined)
    const sidekicks = new Map(own.flatMap((one) => (one.spec.sidekick === undefined ? [] : [[one.spec.sidekick, one] as const])))
    const service: Service = {
      group,
      scale: primary.length,
      state: 'active',
      launchConfig: primary[0] === undefined ? {} : configOf(primary[0], '0'),
      secondaryLaunchConfigs: [...sidekicks.values()].map((one) => configOf(one, '0')),
      upgrade: null,
      upgrades: 0,
      turn: 0,
    }
    known.set(group.row, service)
    return service
  }

  const nameOf = (config: Json): string | undefined => (typeof config.name === 'string' ? config.name : undefined)
  const imageOf = (config: Json): string => String(config.imageUuid).replace(/^docker:/, '')
  const isOf = (config: Json) => (one: PeerContainer) =>
    one.spec.sidekick === nameOf(config) && (one.spec.version ?? '0') === config.version

  /** One container of a configuration; an image called `…:missing` is in no registry, one called `…:crashing` never gets healthy. */
  const start = (service: Service, config: Json, like: PeerContainer | undefined): void => {
    const sidekick = nameOf(config)
    const image = imageOf(config)
    const stack = world.stacks.find((one) => one.row === service.group.stackRow)?.name
    const names = new Set(world.containers.map((one) => one.name))
    const base = `${stack ?? 'default'}-${service.group.name}${sidekick === undefined ? '' : `-${sidekick}`}`
    let index = 1
    while (names.has(`${base}-${index}`)) index++
    const [added] = host.add([
      {
        ...like?.spec,
        name: `${base}-${index}`,
        project: service.group.project,
        ...(stack === undefined ? {} : { stack }),
        service: service.group.name,
        ...(sidekick === undefined ? {} : { sidekick }),
        image,
        version: String(config.version),
        environment: config.environment as Readonly<Record<string, string>>,
        labels: config.labels as Readonly<Record<string, string>>,
        state: image.endsWith(':missing') ? 'error' : 'running',
        healthState: image.endsWith(':crashing') ? 'unhealthy' : 'healthy',
        logs: image.endsWith(':crashing') ? [{ stream: 'stderr', line: 'cannot find the database' }] : [],
      },
    ])
    if (added?.state === 'error') added.problem = `Image [${config.imageUuid}] failed to pull: Error: image ${image} not found`
  }

  /** Does one step after the other, a pace apart, as long as nothing else is asked of the service. */
  const run = (service: Service, state: string, steps: readonly (() => boolean)[], done: string): void => {
    service.state = state
    const turn = ++service.turn
    const next = (at: number): void =>
      host.later(host.paceMs(), () => {
        if (service.turn !== turn) return
        const step = steps[at]
        if (step === undefined) {
          service.state = done
          return
        }
        // A step that does not get on is tried again: an upgrade whose image cannot be pulled stays `upgrading`.
        next(step() ? at + 1 : at)
      })
    next(0)
  }

  const replace = (service: Service, from: readonly Json[], to: readonly Json[], startFirst: boolean): (() => boolean)[] =>
    to.flatMap((config) => {
      const before = from.find((one) => nameOf(one) === nameOf(config))
      if (before === undefined || before.version === config.version) return []
      return Array.from({ length: service.scale }, () => () => {
        const own = living(service.group.row)
        const broken = own.find((one) => isOf(config)(one) && one.state === 'error')
        if (broken) return false
        const old = own.find((one) => isOf(before)(one) && one.state === 'running')
        const kept = own.find((one) => isOf(config)(one) && one.state === 'stopped')
        const begin = () => (kept ? host.begin(kept) : start(service, config, own.find(isOf(before))))
        if (startFirst) begin()
        if (old) host.end(old, 'stopped')
        if (!startFirst) begin()
        return true
      })
    })

  const removeAll = (service: Service, which: (one: PeerContainer) => boolean) => (): boolean => {
    for (const one of living(service.group.row).filter(which)) host.end(one, 'removed')
    return true
  }
  const configs = (service: Service): readonly Json[] => [service.launchConfig, ...service.secondaryLaunchConfigs]

  /** As in [CT ServiceUpgradeValidationFilter]: what is left out stays, with its old version. */
  const upgrade = (service: Service, body: Json): void => {
    const strategy = body.inServiceStrategy as Json | null | undefined
    if (strategy === undefined || strategy === null)
      throw new ApiError(422, 'MissingRequired', 'Upgrade strategy needs to be set')
    const primary = strategy.launchConfig as Json | null | undefined
    const secondary = strategy.secondaryLaunchConfigs as readonly Json[] | null | undefined
    if (!primary && !secondary)
      throw new ApiError(422, 'InvalidOption', 'LaunchConfig/secondaryLaunchConfigs need to be specified')
    const names = new Set(service.secondaryLaunchConfigs.map(nameOf))
    if (secondary?.some((one) => !names.has(nameOf(one)))) throw new ApiError(422, 'InvalidOption', 'secondaryLaunchConfigs')
    const version = uuidOf(`launch config ${service.group.row} ${++service.upgrades}`)
    const before = { launchConfig: service.launchConfig, secondaryLaunchConfigs: service.secondaryLaunchConfigs }
    const given = new Map((secondary ?? []).map((one) => [nameOf(one), one]))
    const from = configs(service)
    if (primary) service.launchConfig = { ...primary, version }
    service.secondaryLaunchConfigs = service.secondaryLaunchConfigs.map((one) => {
      const config = given.get(nameOf(one))
      return config ? { ...config, version } : one
    })
    const startFirst = strategy.startFirst === true
    service.upgrade = {
      inServiceStrategy: {
        launchConfig: service.launchConfig,
        secondaryLaunchConfigs: service.secondaryLaunchConfigs,
        previousLaunchConfig: before.launchConfig,
        previousSecondaryLaunchConfigs: before.secondaryLaunchConfigs,
        batchSize: Number(strategy.batchSize ?? 1),
        intervalMillis: Number(strategy.intervalMillis ?? 2000),
        startFirst,
      },
      toServiceStrategy: null,
    }
    run(service, 'upgrading', replace(service, from, configs(service), startFirst), 'upgraded')
  }

  const rollback = (service: Service): void => {
    const strategy = service.upgrade?.inServiceStrategy
    if (strategy === undefined) throw new ApiError(422, 'ActionNotAvailable', 'action')
    const from = configs(service)
    service.launchConfig = strategy.previousLaunchConfig
    service.secondaryLaunchConfigs = strategy.previousSecondaryLaunchConfigs
    const back = configs(service)
    const newer = from.filter((one) => !back.some((other) => nameOf(other) === nameOf(one) && other.version === one.version))
    const restart = (): boolean => {
      for (const config of back) {
        const own = living(service.group.row).filter(isOf(config))
        for (const one of own.filter((each) => each.state === 'stopped')) host.begin(one)
      }
      return true
    }
    service.upgrade = null
    run(service, 'rolling-back', [removeAll(service, (one) => newer.some((config) => isOf(config)(one))), restart], 'active')
  }

  const scaleTo = (service: Service, scale: number): void => {
    service.scale = scale
    const steps = configs(service).map((config) => (): boolean => {
      const own = living(service.group.row).filter(isOf(config))
      const surplus = own.slice(scale)
      for (const one of surplus) host.end(one, 'removed')
      for (let missing = scale - own.length; missing > 0; missing--) start(service, config, own[0])
      return true
    })
    run(service, 'updating-active', steps, 'active')
  }

  const restart = (service: Service): void => {
    const steps = living(service.group.row)
      .filter((one) => one.state === 'running')
      .map((one) => (): boolean => {
        host.end(one, 'restarting')
        host.begin(one)
        return true
      })
    run(service, 'restarting', steps, 'active')
  }

  const actionsOf = (service: Service, role: Role): readonly string[] => {
    if (role === 'readonly') return []
    const byState: Readonly<Record<string, readonly string[]>> = {
      active: ['upgrade', 'restart', 'update', 'deactivate', 'addservicelink', 'removeservicelink', 'setservicelinks'],
      inactive: ['upgrade', 'activate', 'update'],
      upgrading: ['cancelupgrade'],
      upgraded: ['finishupgrade', 'rollback', 'update'],
      'canceled-upgrade': ['finishupgrade', 'rollback'],
    }
    return [...(byState[service.state] ?? []), 'remove']
  }

  const resource = (group: PeerGroup, view: View): Resource => {
    const service = serviceOf(group)
    const own = living(group.row)
    const self = `${view.base}/services/1s${group.row}`
    const troubled = own.find((one) => one.problem !== undefined)
    const isMoving = !['active', 'inactive', 'upgraded', 'canceled-upgrade'].includes(service.state)
    const message = troubled?.problem === undefined ? 'In Progress' : `Expected state running but got error: ${troubled.problem}`
    return {
      id: `1s${group.row}`,
      type: 'service',
      baseType: 'service',
      kind: 'service',
      links: { self, instances: `${self}/instances` },
      actions: Object.fromEntries(actionsOf(service, view.role).map((name) => [name, `${self}/?action=${name}`])),
      name: group.name,
      state: service.state,
      transitioning: isMoving ? 'yes' : 'no',
      transitioningMessage: isMoving ? message : null,
      transitioningProgress: null,
      healthState: troubled === undefined && own.every((one) => one.spec.healthState !== 'unhealthy') ? 'healthy' : 'degraded',
      accountId: group.project,
      scale: service.scale,
      currentScale: own.filter((one) => one.spec.sidekick === undefined && one.state === 'running').length,
      launchConfig: service.launchConfig,
      secondaryLaunchConfigs: service.secondaryLaunchConfigs,
      upgrade: service.upgrade,
      retainIp: null,
      system: own.some((one) => one.spec.system === true),
      uuid: uuidOf(`service ${group.row}`),
      // The frozen /v1 calls a stack `environment`, `1e4`.
      ...(view.version === 'v1'
        ? { environmentId: group.stackRow === undefined ? null : `1e${group.stackRow}` }
        : {
            stackId: group.stackRow === undefined ? null : `1st${group.stackRow}`,
            instanceIds: own.map((one) => one.id),
          }),
    }
  }

  return {
    resource,
    /** The actions and the update of a service; 202 as cattle answers what it has begun. */
    act(group: PeerGroup, action: string, body: Json, view: View): { status: number; body: unknown } {
      const service = serviceOf(group)
      if (view.role === 'readonly') throw new ApiError(422, 'InvalidAction', 'action')
      if (!actionsOf(service, view.role).includes(action)) throw new ApiError(422, 'ActionNotAvailable', 'action')
      if (action === 'upgrade') upgrade(service, body)
      else if (action === 'rollback') rollback(service)
      else if (action === 'restart') {
        if (typeof body.rollingRestartStrategy !== 'object') throw new ApiError(422, 'MissingRequired', 'rollingRestartStrategy')
        restart(service)
      } else if (action === 'cancelupgrade') run(service, 'canceling-upgrade', [], 'canceled-upgrade')
      else if (action === 'finishupgrade') {
        const current = configs(service)
        service.upgrade = null
        const isOld = (one: PeerContainer) => !current.some((config) => isOf(config)(one))
        run(service, 'finishing-upgrade', [removeAll(service, isOld)], 'active')
      } else throw new ApiError(405, 'Method not allowed')
      return { status: 202, body: resource(group, view) }
    },
    update(group: PeerGroup, body: Json, view: View): { status: number; body: unknown } {
      const service = serviceOf(group)
      if (view.role === 'readonly') throw new ApiError(405, 'Method not allowed')
      if (!actionsOf(service, view.role).includes('update')) throw new ApiError(422, 'ActionNotAvailable', 'action')
      // A launch configuration is not updatable but by an upgrade: its schema says `create` only.
      if (typeof body.scale === 'number') scaleTo(service, body.scale)
      return { status: 200, body: resource(group, view) }
    },
  }
}

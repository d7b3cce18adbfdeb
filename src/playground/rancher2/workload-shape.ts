/** A Kubernetes workload as Rancher's `/v3` shows it, and back: with its own names for things, and without what it does not know (rancher-2.md §6). */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }
export type JsonObject = { readonly [key: string]: Json | undefined }

/** `deployment`, as in ids. */
export const KINDS: Readonly<Record<string, string>> = {
  deployment: 'deployments',
  statefulset: 'statefulsets',
  daemonset: 'daemonsets',
}

/** Fields of a container that `/v3` knows, by its name and by the cluster's; any other is lost when a list is written back. */
const CONTAINER: readonly (readonly [v3: string, cluster: string])[] = [
  ['name', 'name'],
  ['image', 'image'],
  ['imagePullPolicy', 'imagePullPolicy'],
  ['entrypoint', 'command'],
  ['command', 'args'],
  ['workingDir', 'workingDir'],
  ['env', 'env'],
  ['envFrom', 'envFrom'],
  ['ports', 'ports'],
  ['resources', 'resources'],
  ['volumeMounts', 'volumeMounts'],
  ['livenessProbe', 'livenessProbe'],
  ['readinessProbe', 'readinessProbe'],
  ['stdin', 'stdin'],
  ['tty', 'tty'],
  ['terminationMessagePath', 'terminationMessagePath'],
  ['terminationMessagePolicy', 'terminationMessagePolicy'],
]
const SECURITY: readonly (readonly [v3: string, cluster: string])[] = [
  ['privileged', 'privileged'],
  ['allowPrivilegeEscalation', 'allowPrivilegeEscalation'],
  ['readOnly', 'readOnlyRootFilesystem'],
  ['runAsNonRoot', 'runAsNonRoot'],
  ['uid', 'runAsUser'],
  ['windowsOptions', 'windowsOptions'],
]
const CAPABILITIES: readonly (readonly [v3: string, cluster: string])[] = [
  ['capAdd', 'add'],
  ['capDrop', 'drop'],
]
/** A body with one of these and without `containers` clears both lists (RR pkg/schemas/mapper/init_container.go). */
const POD_LEVEL = [
  ...['restartPolicy', 'dnsPolicy', 'hostNetwork', 'hostPID', 'hostIPC'],
  ...['volumes', 'imagePullSecrets', 'serviceAccountName'],
]

export const object = (value: Json | undefined): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
export const array = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : [])

function renamed(from: JsonObject, pairs: readonly (readonly [string, string])[]): Record<string, Json> {
  return Object.fromEntries(pairs.flatMap(([old, now]) => (from[old] === undefined ? [] : [[now, from[old]]])))
}
const backwards = (pairs: readonly (readonly [string, string])[]) => pairs.map(([v3, cluster]) => [cluster, v3] as const)

function containerToV3(container: Json): Record<string, Json> {
  const one = object(container)
  const security = object(one.securityContext)
  return {
    ...renamed(one, backwards(CONTAINER)),
    ...renamed(security, backwards(SECURITY)),
    ...renamed(object(security.capabilities), backwards(CAPABILITIES)),
  }
}

function containerToCluster(container: Json): Record<string, Json> {
  const one = object(container)
  const capabilities = renamed(one, CAPABILITIES)
  const security = { ...renamed(one, SECURITY), ...(Object.keys(capabilities).length > 0 ? { capabilities } : {}) }
  return { ...renamed(one, CONTAINER), ...(Object.keys(security).length > 0 ? { securityContext: security } : {}) }
}

/** `base`: `…/v3/project/<c>:<p>`. */
export function workloadToV3(type: string, live: JsonObject, base: string, projectId: string): Record<string, Json> {
  const metadata = object(live.metadata)
  const spec = object(live.spec)
  const template = object(spec.template)
  const pod = object(template.spec)
  const status = object(live.status)
  // norman types/mapper/metadata.go moves it.
  const uuid = String(metadata.uid)
  const id = `${type}:${String(metadata.namespace)}:${String(metadata.name)}`
  const self = `${base}/workloads/${id}`
  const wanted = type === 'daemonset' ? status.desiredNumberScheduled : (spec.replicas ?? 1)
  const updated = (type === 'daemonset' ? status.updatedNumberScheduled : status.updatedReplicas) ?? 0
  const ready = (type === 'daemonset' ? status.numberReady : status.readyReplicas) ?? 0
  const isSettled =
    Number(status.observedGeneration ?? 0) >= Number(metadata.generation ?? 0) && updated === wanted && ready === wanted
  const strategy = object(spec.strategy)
  const isPaused = spec.paused === true
  const actions = type === 'deployment' ? ['redeploy', isPaused ? 'resume' : 'pause', 'rollback'] : ['redeploy']
  return {
    id,
    uuid,
    type,
    baseType: 'workload',
    name: metadata.name ?? '',
    namespaceId: metadata.namespace ?? '',
    projectId,
    state: isSettled ? 'active' : 'updating',
    transitioning: isSettled ? 'no' : 'yes',
    transitioningMessage: '',
    ...(type === 'daemonset' ? {} : { scale: spec.replicas ?? 1 }),
    ...(type === 'deployment'
      ? {
          paused: isPaused,
          deploymentConfig: { strategy: strategy.type ?? 'RollingUpdate', ...object(strategy.rollingUpdate) } as Json,
          deploymentStatus: status as Json,
        }
      : {}),
    containers: [
      ...array(pod.containers).map(containerToV3),
      ...array(pod.initContainers).map((one) => ({ ...containerToV3(one), initContainer: true })),
    ],
    ...renamed(
      pod,
      POD_LEVEL.map((name) => [name, name] as const),
    ),
    labels: object(object(template.metadata).labels) as Json,
    annotations: object(object(template.metadata).annotations) as Json,
    workloadLabels: object(metadata.labels) as Json,
    workloadAnnotations: object(metadata.annotations) as Json,
    selector: spec.selector ?? {},
    links: { self, update: self, remove: self, ...(type === 'deployment' ? { revisions: `${self}/revisions` } : {}) },
    actions: Object.fromEntries(actions.map((action) => [action, `${self}?action=${action}`])),
  }
}

/** The live object with a PUT's body merged in: objects merge, lists and plain string maps are replaced whole, what is left out stays. */
export function merged(live: JsonObject, body: JsonObject): JsonObject {
  const metadata = object(live.metadata)
  const spec = object(live.spec)
  const template = object(spec.template)
  const templateMetadata = object(template.metadata)
  const containers = body.containers ?? (POD_LEVEL.some((name) => name in body) ? [] : undefined)
  const config = object(body.deploymentConfig)
  const { strategy, ...rolling } = config
  const rollingUpdate = renamed(rolling, [
    ['maxSurge', 'maxSurge'],
    ['maxUnavailable', 'maxUnavailable'],
  ])
  const old = object(spec.strategy)
  return {
    ...live,
    metadata: {
      ...metadata,
      ...(body.workloadLabels === undefined ? {} : { labels: keepingOwn(metadata.labels, body.workloadLabels) }),
      ...(body.workloadAnnotations === undefined
        ? {}
        : { annotations: keepingOwn(metadata.annotations, body.workloadAnnotations) }),
    },
    spec: {
      ...spec,
      ...(body.scale === undefined ? {} : { replicas: body.scale }),
      ...(body.paused === undefined ? {} : { paused: body.paused }),
      ...(body.deploymentConfig === undefined
        ? {}
        : {
            strategy: {
              ...old,
              ...(strategy === undefined ? {} : { type: strategy }),
              ...(Object.keys(rollingUpdate).length > 0
                ? { rollingUpdate: { ...object(old.rollingUpdate), ...rollingUpdate } }
                : {}),
            },
          }),
      template: {
        ...template,
        metadata: {
          ...templateMetadata,
          ...(body.labels === undefined ? {} : { labels: body.labels }),
          ...(body.annotations === undefined ? {} : { annotations: body.annotations }),
        },
        spec: {
          ...object(template.spec),
          ...renamed(
            body,
            POD_LEVEL.map((name) => [name, name] as const),
          ),
          ...(containers === undefined ? {} : split(array(containers))),
        },
      },
    },
  }
}

function split(containers: readonly Json[]): Record<string, Json> {
  const init = containers.filter((one) => object(one).initContainer === true)
  return {
    containers: containers.filter((one) => object(one).initContainer !== true).map(containerToCluster),
    ...(init.length > 0 ? { initContainers: init.map(containerToCluster) } : { initContainers: [] }),
  }
}

/** Rancher's own keys survive in the workload's metadata. */
function keepingOwn(old: Json | undefined, given: Json): Json {
  const own = Object.entries(object(old)).filter(([key]) => /(^|\.)cattle\.io\//.test(key))
  return { ...object(given), ...Object.fromEntries(own) } as Json
}

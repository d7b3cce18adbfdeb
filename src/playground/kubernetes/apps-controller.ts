/** Moves the pods of the pretend cluster to what its Deployments, StatefulSets and DaemonSets want, a step at a time, and writes their status. */

import { createHash } from 'node:crypto'
import { array, type Json, type JsonObject, object } from './apps-patch.ts'
import type { ContainerSpec, PeerPod } from './pods.ts'
import type { World } from './world.ts'

export type AppKind = 'deployments' | 'statefulsets' | 'daemonsets' | 'replicasets' | 'controllerrevisions'

/** What the controller may do with the API's objects. */
export type Objects = {
  all(kind: AppKind): readonly JsonObject[]
  /** By its own name; neither generation nor conflict: it is the controller who writes. */
  write(kind: AppKind, value: JsonObject): void
  /** Status and annotations onto what there is by now: a client may have written meanwhile. */
  mark(kind: AppKind, value: JsonObject, now: { readonly status: JsonObject; readonly annotations?: JsonObject }): void
  remove(kind: AppKind, value: JsonObject): void
}

const REVISION = 'deployment.kubernetes.io/revision'
const NODES = ['node-1']

const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '')
const meta = (value: JsonObject): JsonObject => object(value.metadata)
const spec = (value: JsonObject): JsonObject => object(value.spec)
export const nameOf = (value: JsonObject): string => text(meta(value).name)
export const spaceOf = (value: JsonObject): string => text(meta(value).namespace)
const stamp = () => new Date().toISOString().replace(/\.\d+Z$/, 'Z')

export function createController(world: World, objects: Objects) {
  /** When each Deployment last moved. */
  const movedAt = new Map<string, number>()
  /** Owners that there have been: pods that a test made under an owner of its own are left alone. */
  const made = new Set<string>()

  const ownedBy =
    (owner: JsonObject) =>
    (value: JsonObject): boolean =>
      array(meta(value).ownerReferences).some((one) => object(one).uid === meta(owner).uid)
  const podsOf = (owner: JsonObject): readonly PeerPod[] =>
    world.pods().filter((pod) => pod.spec.owner?.uid === meta(owner).uid && pod.deletedAt === undefined)
  const isReady = (pod: PeerPod): boolean => pod.containers.every(({ state }) => state === 'running')

  async function addPod(owner: JsonObject, kind: string, name: string, template: JsonObject, label: readonly [string, string]) {
    const labels = { ...(object(meta(template).labels) as Record<string, string>), [label[0]]: label[1] }
    const containers = array(spec(template).containers).map((one) => containerOf(object(one)))
    await world.add([
      {
        namespace: spaceOf(owner),
        name,
        labels,
        annotations: object(meta(template).annotations) as Record<string, string>,
        owner: { kind, name: nameOf(owner), uid: text(meta(owner).uid) },
        containers,
        phase: containers.every(({ problem }) => problem === undefined) ? 'Running' : 'Pending',
      },
    ])
  }
  const removePod = (pod: PeerPod) => world.remove(pod.namespace, pod.name, 'gone')

  function refer(owner: JsonObject, kind: string): Json {
    return [
      {
        apiVersion: 'apps/v1',
        kind,
        name: nameOf(owner),
        uid: meta(owner).uid ?? '',
        controller: true,
        blockOwnerDeletion: true,
      },
    ]
  }

  // ---- Deployments -----------------------------------------------------------------------------

  /** The ReplicaSet of this template: an old one that comes back gets a new number. */
  function replicaSetFor(deployment: JsonObject): JsonObject {
    const own = objects.all('replicasets').filter(ownedBy(deployment))
    const template = object(spec(deployment).template)
    const hash = hashOf(template)
    const name = setName(deployment)
    const found = own.find((one) => nameOf(one) === name)
    const number = (one: JsonObject) => Number(object(meta(one).annotations)[REVISION] ?? 0)
    const newest = Math.max(0, ...own.map(number))
    if (found && number(found) === newest) return found
    const labels = { ...object(meta(template).labels), 'pod-template-hash': hash }
    const annotations = { ...object(found && meta(found).annotations), [REVISION]: String(newest + 1) }
    const made: JsonObject = {
      metadata: { ...(found ? meta(found) : newMetadata(deployment, name, 'Deployment')), labels, annotations },
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: { ...template, metadata: { ...meta(template), labels } },
      },
    }
    objects.write('replicasets', made)
    return objects.all('replicasets').find((one) => nameOf(one) === name && spaceOf(one) === spaceOf(deployment)) ?? made
  }

  function newMetadata(owner: JsonObject, name: string, kind: string): JsonObject {
    return { name, namespace: spaceOf(owner), ownerReferences: refer(owner, kind), creationTimestamp: stamp() }
  }

  function setName(deployment: JsonObject): string {
    return `${nameOf(deployment)}-${hashOf(object(spec(deployment).template))}`
  }

  /** One pod more than wanted, none missing: `maxSurge: 25%, maxUnavailable: 25%` of few. */
  async function stepDeployment(deployment: JsonObject): Promise<boolean> {
    const wanted = Number(spec(deployment).replicas ?? 1)
    const isPaused = spec(deployment).paused === true
    const sets = () => objects.all('replicasets').filter(ownedBy(deployment))
    const current = isPaused ? newestOf(sets()) : replicaSetFor(deployment)
    let moved = false
    if (current) {
      const fresh = podsOf(current)
      const old = sets()
        .filter((one) => nameOf(one) !== nameOf(current))
        .flatMap(podsOf)
      const ready = [...fresh, ...old].filter(isReady).length
      const dead = old.find((pod) => !isReady(pod))
      const hash = text(object(meta(current).labels)['pod-template-hash'])
      moved = true
      if (fresh.length > wanted) await removePod(fresh.at(-1)!)
      else if (dead) await removePod(dead)
      else if (fresh.length < wanted && fresh.length + old.length <= wanted)
        await addPod(current, 'ReplicaSet', `${nameOf(current)}-${suffix()}`, object(spec(current).template), [
          'pod-template-hash',
          hash,
        ])
      else if (old.length > 0 && ready > wanted) await removePod(old[0]!)
      else moved = false
    }
    const all = sets().flatMap(podsOf)
    // Paused, no set is made for a new template, and what is old is not counted as updated [kubernetes pkg/controller/deployment sync.go].
    const updated = current && nameOf(current) === setName(deployment) ? podsOf(current) : []
    const available = all.filter(isReady).length
    const key = `${spaceOf(deployment)}/${nameOf(deployment)}`
    const isDone = updated.length === wanted && all.length === wanted && available === wanted
    if (moved || !movedAt.has(key)) movedAt.set(key, Date.now())
    const deadlineMs = Number(spec(deployment).progressDeadlineSeconds ?? 600) * 1000
    const isLate = !isDone && !isPaused && Date.now() - (movedAt.get(key) ?? 0) >= deadlineMs
    const reason = isPaused
      ? 'DeploymentPaused'
      : isLate
        ? 'ProgressDeadlineExceeded'
        : isDone
          ? 'NewReplicaSetAvailable'
          : 'ReplicaSetUpdated'
    const message = `ReplicaSet "${current ? nameOf(current) : ''}" ${isLate ? 'has timed out progressing.' : 'is progressing.'}`
    objects.mark('deployments', deployment, {
      annotations: current ? { [REVISION]: object(meta(current).annotations)[REVISION] ?? '1' } : {},
      status: {
        observedGeneration: meta(deployment).generation ?? 1,
        replicas: all.length,
        updatedReplicas: updated.length,
        readyReplicas: available,
        availableReplicas: available,
        unavailableReplicas: Math.max(0, wanted - available),
        conditions: [
          { type: 'Available', status: available >= wanted ? 'True' : 'False', reason: 'MinimumReplicasAvailable' },
          { type: 'Progressing', status: isLate ? 'False' : isPaused ? 'Unknown' : 'True', reason, message },
        ],
      },
    })
    // Until the deadline nothing else may happen, but that has to be seen.
    return moved || (!isDone && !isLate && !isPaused && deadlineMs < 60_000)
  }

  function newestOf(sets: readonly JsonObject[]): JsonObject | undefined {
    return sets.toSorted(
      (a, b) => Number(object(meta(b).annotations)[REVISION] ?? 0) - Number(object(meta(a).annotations)[REVISION] ?? 0),
    )[0]
  }

  // ---- StatefulSets and DaemonSets ---------------------------------------------------------------

  /** The ControllerRevision of this template; one that comes back gets a new number. */
  function revisionFor(owner: JsonObject, kind: string): string {
    const own = objects.all('controllerrevisions').filter(ownedBy(owner))
    const template = object(spec(owner).template)
    const name = `${nameOf(owner)}-${hashOf(template)}`
    const found = own.find((one) => nameOf(one) === name)
    const newest = Math.max(0, ...own.map((one) => Number(one.revision)))
    if (!found || Number(found.revision) < newest)
      objects.write('controllerrevisions', {
        metadata: { ...newMetadata(owner, name, kind), labels: object(meta(template).labels) },
        data: { spec: { template: { ...template, $patch: 'replace' } } },
        revision: newest + 1,
      })
    return name
  }

  const HASH = 'controller-revision-hash'

  async function stepInPlace(owner: JsonObject, kind: 'StatefulSet' | 'DaemonSet'): Promise<boolean> {
    const isSet = kind === 'StatefulSet'
    const revision = revisionFor(owner, kind)
    const template = object(spec(owner).template)
    const names = isSet
      ? Array.from({ length: Number(spec(owner).replicas ?? 1) }, (_, index) => `${nameOf(owner)}-${index}`)
      : NODES.map((node) => `${nameOf(owner)}-${node}`)
    const pods = podsOf(owner)
    const isOld = (pod: PeerPod) => pod.labels[HASH] !== revision
    const extra = pods.find((pod) => !names.includes(pod.name))
    const missing = names.find((name) => !pods.some((pod) => pod.name === name))
    const old = pods.filter(isOld).toSorted((a, b) => (a.name < b.name ? 1 : -1))
    const isWaiting = pods.some((pod) => !isOld(pod) && !isReady(pod))
    let moved = true
    if (extra) await removePod(extra)
    else if (missing) await addPod(owner, kind, missing, template, [HASH, revision])
    // Not before the one that was replaced last is ready; a broken old one does not hold it up.
    else if (old.length > 0 && (!isWaiting || old.some((pod) => !isReady(pod))))
      await removePod(old.find((pod) => !isReady(pod)) ?? old[0]!)
    else moved = false
    const now = podsOf(owner)
    const updated = now.filter((pod) => !isOld(pod)).length
    const ready = now.filter(isReady).length
    const observedGeneration = meta(owner).generation ?? 1
    const before = text(object(owner.status).currentRevision)
    const isComplete = updated === names.length && ready === names.length
    objects.mark(isSet ? 'statefulsets' : 'daemonsets', owner, {
      status: isSet
        ? {
            observedGeneration,
            replicas: now.length,
            readyReplicas: ready,
            updatedReplicas: updated,
            currentRevision: isComplete || before === '' ? revision : before,
            updateRevision: revision,
          }
        : {
            observedGeneration,
            desiredNumberScheduled: names.length,
            currentNumberScheduled: now.length,
            updatedNumberScheduled: updated,
            numberReady: ready,
            numberAvailable: ready,
          },
    })
    return moved
  }

  return {
    /** True: there is more to do. */
    async step(): Promise<boolean> {
      let more = false
      for (const one of objects.all('deployments')) more = (await stepDeployment(one)) || more
      for (const one of objects.all('statefulsets')) more = (await stepInPlace(one, 'StatefulSet')) || more
      for (const one of objects.all('daemonsets')) more = (await stepInPlace(one, 'DaemonSet')) || more
      const owners = (['deployments', 'statefulsets', 'daemonsets', 'replicasets'] as const).flatMap((kind) => objects.all(kind))
      const living = new Set(owners.map((one) => meta(one).uid))
      for (const kind of ['replicasets', 'controllerrevisions'] as const)
        for (const one of objects.all(kind))
          if (!array(meta(one).ownerReferences).some((owner) => living.has(object(owner).uid))) objects.remove(kind, one)
      const kinds = ['ReplicaSet', 'StatefulSet', 'DaemonSet']
      for (const pod of world.pods())
        if (
          pod.spec.owner?.uid !== undefined &&
          kinds.includes(pod.spec.owner.kind) &&
          !living.has(pod.spec.owner.uid) &&
          made.has(pod.spec.owner.uid)
        )
          await removePod(pod)
      for (const uid of living) made.add(String(uid))
      return more
    },
  }
}

/** An image called `…:missing` is in no registry, and what is in one called `…:crashing` ends at once. */
function containerOf(container: JsonObject): ContainerSpec {
  const image = text(container.image)
  const of = { name: text(container.name), image }
  if (image.endsWith(':missing'))
    return { ...of, state: 'waiting', problem: { reason: 'ImagePullBackOff', message: `Back-off pulling image "${image}"` } }
  if (image.endsWith(':crashing')) {
    const message = 'back-off 10s restarting failed container'
    const lines = [...Array.from({ length: 40 }, (_, n) => `starting ${n}`), 'cannot find the database']
    return { ...of, state: 'waiting', problem: { reason: 'CrashLoopBackOff', message, exitCode: 3 }, logs: lines }
  }
  return of
}

function hashOf(template: JsonObject): string {
  const stable = JSON.stringify(template, (_, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  )
  return createHash('sha256').update(stable).digest('hex').slice(0, 10)
}

let suffixes = 0
function suffix(): string {
  suffixes += 1
  return createHash('sha256').update(String(suffixes)).digest('hex').slice(0, 5)
}

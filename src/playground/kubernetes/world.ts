/** What there is in the pretend cluster: pods that come, stop and go, each change with a version of its own. */

import type { PeerEngine } from '../rancher/engine.ts'
import { createPod, engineOf, type PeerContainer, type PeerPod, type PodSpec } from './pods.ts'

export type World = {
  pods(): readonly PeerPod[]
  find(namespace: string, name: string): PeerPod | undefined
  /** The same, or an error: for tests and the playground. */
  get(namespace: string, name: string): PeerPod
  add(specs: readonly PodSpec[]): Promise<readonly PeerPod[]>
  /** Its containers end; the pod stays, as a completed one does. */
  stop(namespace: string, name: string, container?: string): Promise<void>
  /** Again, in new containers. */
  restart(namespace: string, name: string): Promise<void>
  /** `terminating`: only on its way out; it still runs. */
  remove(namespace: string, name: string, how?: 'terminating' | 'gone'): Promise<void>
  /** The version of the last change, and of the next. */
  version(): number
  nextVersion(): number
}

export function createWorld(engine: PeerEngine): World {
  const pods = new Map<string, PeerPod>()
  let version = 1000
  const find = (namespace: string, name: string) => pods.get(`${namespace}/${name}`)
  const get = (namespace: string, name: string) => {
    const pod = find(namespace, name)
    if (!pod) throw new Error(`no pod ${namespace}/${name} in this pretend cluster`)
    return pod
  }
  const nextVersion = () => {
    version += 1
    return version
  }
  const end = async (pod: PeerPod, which: readonly PeerContainer[], removed: boolean): Promise<void> => {
    for (const one of which) {
      if (one.state === 'running') one.state = 'terminated'
      await engine.stopped?.(one.engine, removed)
    }
    pod.resourceVersion = nextVersion()
  }
  return {
    pods: () => [...pods.values()],
    find,
    get,
    async add(specs) {
      const added = specs.map((spec) => createPod(spec, nextVersion()))
      for (const pod of added) {
        pods.set(`${pod.namespace}/${pod.name}`, pod)
        for (const one of pod.containers) if (one.state === 'running') await engine.started?.(one.engine)
      }
      return added
    },
    async stop(namespace, name, container) {
      const pod = get(namespace, name)
      await end(
        pod,
        pod.containers.filter((one) => container === undefined || one.name === container),
        false,
      )
      if (!pod.containers.some(({ state }) => state === 'running')) pod.phase = 'Succeeded'
    },
    async restart(namespace, name) {
      const pod = get(namespace, name)
      await end(pod, pod.containers, true)
      for (const one of pod.containers) {
        one.engine = engineOf({ namespace, spec: pod.spec, container: one, node: pod.node, incarnation: nextVersion() })
        one.state = 'running'
        await engine.started?.(one.engine)
      }
      pod.phase = 'Running'
    },
    async remove(namespace, name, how = 'gone') {
      const pod = get(namespace, name)
      pod.deletedAt = new Date().toISOString()
      pod.resourceVersion = nextVersion()
      if (how === 'terminating') return
      pods.delete(`${namespace}/${name}`)
      await end(pod, pod.containers, true)
    },
    version: () => version,
    nextVersion,
  }
}

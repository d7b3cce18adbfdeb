/** The kinds of backend that a configuration names, for Node and Deno: the others are not loaded. */

import type { Machine } from './backends/machine.ts'
import type { Config } from './config.ts'
import type { BackendKind } from './core/model.ts'
import type { Learn } from './core/redact.ts'
import type { Kinds, Outside } from './rooms.ts'
import { nodeTransport } from './runtime/transport-node.ts'

/** `learn`: what a kubeconfig holds must not be shown. */
export async function kindsOf(
  config: Config,
  machine: Machine,
  learn: Learn,
): Promise<Pick<Outside, 'kinds' | 'kubernetesFiles'>> {
  const named = new Set<BackendKind>(
    Object.values(config.backends)
      // What an agent does by drover's own orders needs no more here than their words.
      .filter(({ kind, through }) => through === undefined || (kind !== 'containerd' && kind !== 'swarm'))
      .map(({ kind }) => kind),
  )
  const [rancher1, rancher2, kubernetes, docker, swarm, containerd, files] = await Promise.all([
    named.has('rancher1') && import('./backends/rancher1/backend.ts'),
    named.has('rancher2') && import('./backends/rancher2/backend.ts'),
    named.has('kubernetes') && import('./backends/kubernetes/connect.ts'),
    named.has('docker') && dockerOf(machine, learn),
    named.has('swarm') && import('./backends/swarm/backend.ts'),
    named.has('containerd') && containerdOf(machine),
    named.has('kubernetes') && import('./backends/kubernetes/files.ts'),
  ])
  return {
    kinds: { ...rancher1, ...rancher2, ...kubernetes, ...docker, ...swarm, ...containerd },
    ...(files ? { kubernetesFiles: files.filesOf(machine, learn) } : {}),
  }
}

async function dockerOf(machine: Machine, learn: Learn): Promise<Pick<Kinds, 'docker'>> {
  const [{ docker }, { loginsOf }] = await Promise.all([
    import('./backends/docker/backend.ts'),
    import('./backends/docker/logins.ts'),
  ])
  return { docker: (options, outside) => docker(options, { ...outside, loginsOf: (file) => loginsOf(file, machine, learn) }) }
}

async function containerdOf(machine: Machine): Promise<Pick<Kinds, 'containerd'>> {
  const [{ containerd }, { makePipes }, { readCgroups }] = await Promise.all([
    import('./backends/containerd/backend.ts'),
    import('./runtime/named-pipes.ts'),
    import('./runtime/host-processes.ts'),
  ])
  return { containerd: (settings) => containerd(settings, { transport: nodeTransport, machine, makePipes, readCgroups }) }
}

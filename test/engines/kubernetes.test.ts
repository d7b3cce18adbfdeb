/** The backend contract on a real cluster, by the v4 of its own API server and by the v5 of a newer one. */

import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { backendContract, runOn } from '../contract/backend.ts'
import { apply, bareName, cluster, connectAs, doorTo, kubectl, pod, processesInside } from './kubernetes-cluster.ts'

const doors = { 'v4.channel.k8s.io': cluster.url, 'v5.channel.k8s.io': cluster.v5Url }

for (const [protocol, url] of Object.entries(doors)) {
  backendContract(`Kubernetes, ${protocol}`, async () => {
    const names = [`bare-${protocol.slice(0, 2)}`, `ends-${protocol.slice(0, 2)}`] as const
    await kubectl('delete', 'pod', ...names, '--ignore-not-found', '--wait', '--grace-period=1')
    const untilTold = pod(names[1], { command: ['sh', '-c', 'while [ ! -e /tmp/end ]; do sleep 0.2; done'] })
    await apply(bareName(names[0]), untilTold)
    const door = await doorTo(url)
    const backend = kubernetesOver(connectAs('exec', door.url), { name: 'kube' })
    const all = await backend.list({}, AbortSignal.timeout(10_000))
    const named = (app: string) => all.find(({ labels }) => labels.app === app)!
    const [bare, stopped] = [named(names[0]), named(names[1])]
    await runOn(backend, stopped, { argv: ['touch', '/tmp/end'] })
    while ((await kubectl('get', 'pod', names[1], '-o', 'jsonpath={.status.phase}')) !== 'Succeeded')
      await new Promise((resolve) => setTimeout(resolve, 200))
    return {
      backend,
      target: named('web'),
      bare,
      stopped,
      processesInside,
      openConnections: door.open,
      breakAfter: door.breakAfter,
      tearDown: async () => {
        await kubectl('delete', 'pod', ...names, '--wait=false')
        await door.close()
      },
    }
  })
}

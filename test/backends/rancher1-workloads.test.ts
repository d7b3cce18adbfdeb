import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import type { Target } from '../../src/core/model.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { quickPace, workloadsContract } from '../contract/workloads.ts'

const secret = 'hunter2-in-the-environment'

workloadsContract('Rancher 1.x', async () => {
  const peer = await startRancherPeer({ world: [] })
  peer.faults.servicePaceMs = 20
  const { accessKey, secretKey } = peer.environmentKey
  const backend = rancher1({ name: 'prod', url: peer.url, accessKey, secretKey, pace: quickPace }, nodeTransport())
  const workloads = backend.workloads!
  let made = 0
  const serviceOf = async (target: Target) => {
    const response = await fetch(`${peer.url}/v2-beta/services/${target.native}`, {
      headers: { authorization: `Basic ${btoa(`${accessKey}:${secretKey}`)}` },
    })
    return (await response.json()) as {
      name: string
      scale: number
      launchConfig: Record<string, unknown>
      secondaryLaunchConfigs: Record<string, unknown>[]
    }
  }
  const own = (target: Target) =>
    peer.containers.all().filter((one) => one.serviceRow === Number(target.native.slice(2)) && one.state === 'running')
  const send = async (target: Target, method: string, path: string, body: unknown) => {
    const response = await fetch(`${peer.url}/v2-beta/services/${target.native}${path}`, {
      method,
      headers: { authorization: `Basic ${btoa(`${accessKey}:${secretKey}`)}`, 'x-by': 'someone else' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`the peer refused with ${response.status}`)
  }
  const make = async (sidekick: boolean): Promise<Target> => {
    const service = `api${++made}`
    const labels = { app: service }
    const environment = { PASSWORD: secret }
    await peer.addContainers(
      [1, 2].flatMap((n) => [
        { name: `shop-${service}-${n}`, stack: 'shop', service, image: 'shop/api:1', labels, environment },
        ...(sidekick
          ? [
              {
                name: `shop-${service}-side-${n}`,
                stack: 'shop',
                service,
                sidekick: 'side',
                image: 'shop/api:1',
                labels,
                environment,
              },
            ]
          : []),
      ]),
    )
    return (await workloads.list({}, AbortSignal.timeout(5_000))).find((one) => one.facets.service === service)!
  }
  const others = new Map<string, number>()
  return {
    workloads,
    containerOf: (target) => target.facets.service!,
    images: { before: 'shop/api:1', after: 'shop/api:2', missing: 'shop/api:missing' },
    secret,
    fresh: () => make(false),
    pair: () => make(true),
    async imagesOf(target) {
      const service = await serviceOf(target)
      const image = (config: Record<string, unknown>) => String(config.imageUuid).replace('docker:', '')
      return {
        [service.name]: image(service.launchConfig),
        ...Object.fromEntries(service.secondaryLaunchConfigs.map((one) => [one.name, image(one)])),
      }
    },
    async countOf(target) {
      const service = await serviceOf(target)
      return { wanted: service.scale, running: own(target).length }
    },
    writes: (target) =>
      peer.seen.requests.filter((one) => one.method !== 'GET' && one.path.includes(`/${target.native}`)).length -
      (others.get(target.native) ?? 0),
    async edit(target) {
      const { scale } = await serviceOf(target)
      others.set(target.native, (others.get(target.native) ?? 0) + 1)
      await send(target, 'PUT', '', { scale: scale + 1 })
    },
    conflict(target, times) {
      peer.faults.http.push({ match: new RegExp(`^(POST|PUT) .*/${target.native}`), status: 409, times })
    },
    loseAnswer() {
      peer.faults.http.push({ match: /^(POST|PUT) /, status: 502, body: 'bad gateway' })
    },
    tearDown: () => peer.close(),
  }
})

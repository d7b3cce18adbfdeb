/** A node's runtime service as other nodes have it: a peer that speaks CRI's gRPC on a real socket, and says what containerd's own does not. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Server, ServerCredentials, type ServiceDefinition, status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import { fromJSON } from '@grpc/proto-loader'
import { expect, onTestFinished, test } from 'vitest'
import { backendByOrder } from '../../src/agent/by-order.ts'
import { containerd } from '../../src/backends/containerd/backend.ts'
import { criProtocol } from '../../src/backends/containerd/cri-protocol.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { startLink } from '../agent/link.ts'
import { failureOf, runOn } from '../contract/backend.ts'

const soon = () => AbortSignal.timeout(20_000)
const definitions = fromJSON(criProtocol as Parameters<typeof fromJSON>[0], { defaults: true })
const service = definitions['runtime.v1.RuntimeService'] as ServiceDefinition

type Answer = object | { readonly code: status; readonly details: string }
type Answers = Readonly<Record<string, (request: Record<string, unknown>) => Answer>>

/** Answers each method as told, and remembers what it was asked. */
async function node(answers: Answers) {
  const folder = mkdtempSync(join(tmpdir(), 'drover-cri-'))
  const address = join(folder, 's')
  const asked: string[] = []
  const server = new Server()
  const methods: UntypedServiceImplementation = {}
  for (const name of Object.keys(service))
    methods[name] = (call: { request: Record<string, unknown> }, callback: (error: object | null, value?: object) => void) => {
      asked.push(`${name} ${JSON.stringify(call.request)}`)
      const answer = answers[name]?.(call.request) ?? { code: status.UNIMPLEMENTED, details: 'no' }
      if ('code' in answer) callback(answer)
      else callback(null, answer)
    }
  server.addService(service, methods)
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${address}`, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve())),
  )
  onTestFinished(() => {
    server.forceShutdown()
    rmSync(folder, { recursive: true, force: true })
  })
  const backend = containerd(
    { name: 'node', api: 'cri', address, parallel: 8 },
    { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups },
  )
  return { backend, asked, address }
}

const namespaces = ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type }))
const info = (spec: unknown) => ({ info: JSON.stringify({ runtimeSpec: spec }) })
const plain = { process: { capabilities: { bounding: ['CAP_CHOWN'] } }, linux: { namespaces } }
const labelsOf = (pod: string) => ({
  'io.kubernetes.pod.name': pod,
  'io.kubernetes.pod.namespace': pod === 'dns' ? 'kube-system' : 'shop',
  'io.kubernetes.pod.uid': `uid-${pod}`,
})
const container = (id: string, pod: string, state = 1) => ({
  id,
  podSandboxId: `sandbox-${pod}`,
  state,
  labels: { ...labelsOf(pod), 'io.kubernetes.container.name': 'main' },
})
const sandbox = (pod: string, more = {}) => ({ id: `sandbox-${pod}`, state: 0, labels: { ...labelsOf(pod), ...more } })
const usual: Answers = {
  Version: () => ({ runtimeName: 'other', runtimeVersion: '1' }),
  // One that does not filter, either.
  ListContainers: () => ({ containers: [container('c-web', 'web'), container('c-dns', 'dns'), container('c-old', 'web', 2)] }),
  ListPodSandbox: () => ({ items: [sandbox('web', { app: 'web' }), sandbox('dns')] }),
  ContainerStatus: () => ({ status: { state: 1, image: { image: 'docker.io/library/web:1' } }, info: info(plain) }),
  PodSandboxStatus: () => ({ info: info(plain) }),
}

test('what runs has its pod’s labels and its image; what has ended is left out, whatever the list holds', async () => {
  const { backend, asked } = await node(usual)
  const found = await backend.list({}, soon())
  expect(found.map(({ name, labels, facets, system }) => [name, labels.app, facets.image, system])).toEqual([
    ['web/main', 'web', 'docker.io/library/web:1', undefined],
    ['dns/main', undefined, 'docker.io/library/web:1', true],
  ])
  // The image is in no list.
  expect(await backend.list({ facets: { image: '*web*' } }, soon())).toHaveLength(2)
  asked.length = 0
  expect((await backend.list({ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, soon())).map(({ native }) => native)).toEqual([
    'c-web',
  ])
  // Others are not asked about.
  expect(asked.filter((one) => one.startsWith('ContainerStatus'))).toEqual([
    'ContainerStatus {"containerId":"c-web","verbose":true}',
  ])
})

test('S45 a container or a pod whose runtime tells no spec counts as privileged, and so does a strong one', async () => {
  const privileged = async (changed: Answers) => {
    const { backend } = await node({ ...usual, ...changed })
    return (await backend.list({ name: 'web/*' }, soon())).map((one) => one.privileged)
  }
  const status = { state: 1, image: null }
  const strong = { ...plain, process: { capabilities: { bounding: ['CAP_SYS_ADMIN'] } } }
  const inPod = {
    linux: { namespaces: namespaces.map(({ type }) => ({ type, ...(type === 'mount' ? {} : { path: '/proc/7/ns/x' }) })) },
  }
  const hostNetwork = { linux: { namespaces: namespaces.filter(({ type }) => type !== 'network') } }
  expect(await privileged({})).toEqual([undefined])
  expect(await privileged({ ContainerStatus: () => ({ status, info: {} }) })).toEqual([true])
  expect(await privileged({ ContainerStatus: () => ({ status, info: { info: 'no JSON' } }) })).toEqual([true])
  expect(await privileged({ ContainerStatus: () => ({ status, info: info(strong) }) })).toEqual([true])
  expect(await privileged({ ContainerStatus: () => ({ status, info: info(inPod) }) })).toEqual([undefined])
  expect(
    await privileged({
      ContainerStatus: () => ({ status, info: info(inPod) }),
      PodSandboxStatus: () => ({ info: info(hostNetwork) }),
    }),
  ).toEqual([true])
  expect(
    await privileged({ ContainerStatus: () => ({ status, info: info(inPod) }), PodSandboxStatus: () => ({ info: {} }) }),
  ).toEqual([true])
})

test('what goes between list and look is left out; what cannot be read whole is no list', async () => {
  const gone = await node({ ...usual, ContainerStatus: () => ({ code: status.NOT_FOUND, details: 'container "x": not found' }) })
  expect(await gone.backend.list({}, soon())).toEqual([])
  const ended = await node({ ...usual, ContainerStatus: () => ({ status: { state: 2, image: null }, info: info(plain) }) })
  expect(await ended.backend.list({}, soon())).toEqual([])
  const broken = await node({ ...usual, ContainerStatus: () => ({ code: status.UNKNOWN, details: 'shim is gone' }) })
  expect(await failureOf(Promise.resolve(broken.backend.list({}, soon())))).toMatchObject({ code: 'backend_protocol', ran: 'no' })
})

test.each(['https://127.0.0.1:1/exec/t', 'http://10.0.0.7:1/exec/t', 'http://127.0.0.1.example/exec/t', 'no address'])(
  'a command is not handed on at %s, where others could hear or answer it',
  async (url) => {
    const { backend } = await node({ ...usual, Exec: () => ({ url }) })
    const [target] = await backend.list({ name: 'web/main' }, soon())
    const error = await failureOf(runOn(backend, target!, { argv: ['true'] }))
    expect([error.code, error.ran]).toEqual(['unsupported', 'no'])
    expect(error.next).toContain('stream_server_address')
    expect((await backend.check(soon())).at(-1)).toMatchObject({ ok: false, what: error.message })
  },
)

test('a container that does not run any more, and a stream server that is not there, are told as such: nothing ran', async () => {
  for (const [code, details] of [
    [status.NOT_FOUND, 'failed to find container "x" in store: not found'],
    [status.UNKNOWN, 'container is in CONTAINER_EXITED state'],
  ] as const) {
    const { backend } = await node({ ...usual, Exec: () => ({ code, details }) })
    const [target] = await backend.list({ name: 'web/main' }, soon())
    const error = await failureOf(runOn(backend, target!, { argv: ['true'] }))
    expect([error.code, error.ran]).toEqual(['not_running', 'no'])
  }
  const { backend } = await node({ ...usual, Exec: () => ({ url: 'http://127.0.0.1:1/exec/t' }) })
  const [target] = await backend.list({ name: 'web/main' }, soon())
  expect(await failureOf(runOn(backend, target!, { argv: ['true'] }))).toMatchObject({ code: 'backend_unavailable', ran: 'no' })
})

test('[gone-is-gone] with its container everything is gone; a node that cannot be asked proves nothing', async () => {
  const exited = { Exec: () => ({ code: status.UNKNOWN, details: 'container is in CONTAINER_EXITED state' }) }
  const listed = await node(usual)
  const [target] = await listed.backend.list({ name: 'web/main' }, soon())
  const handle = { target: target!.id, exec: 'a'.repeat(32) }
  const gone = await node({ ...usual, ...exited, ContainerStatus: () => ({ code: status.NOT_FOUND, details: 'not found' }) })
  expect(await gone.backend.kill(target!, handle, soon())).toEqual({ result: 'gone' })
  const unclear = await node({ ...usual, ...exited })
  await expect(unclear.backend.kill(target!, handle, soon())).rejects.toThrow()
  const lost = await node({ ...usual, ...exited, ContainerStatus: () => ({ code: status.UNAVAILABLE, details: 'going' }) })
  await expect(lost.backend.kill(target!, handle, soon())).rejects.toMatchObject({ code: 'backend_unavailable' })
})

test('a user cannot be chosen there, and that is said before anything is asked', async () => {
  const { backend, asked } = await node(usual)
  const [target] = await backend.list({ name: 'web/main' }, soon())
  asked.length = 0
  expect(await failureOf(runOn(backend, target!, { argv: ['id'], user: 'nobody' }))).toMatchObject({
    code: 'unsupported',
    ran: 'no',
  })
  expect(asked).toEqual([])
})

test('[default-deny] through an agent: the pods of the namespace that its list names, and user= is refused there as here', async () => {
  const { address, backend: direct, asked } = await node(usual)
  const engine = JSON.stringify({ kind: 'containerd', api: 'cri', address })
  const link = await startLink({ file: `engine: ${engine}\nallow: { labels: io.kubernetes.pod.namespace=shop }` })
  onTestFinished(() => link.close())
  const backend = backendByOrder({ name: 'far', kind: 'containerd', hasUser: false }, link.transport)
  expect(backend.traits.user).toBe(false)
  expect((await backend.list({}, soon())).map(({ id, name }) => [id, name])).toEqual([['far/c-web', 'web/main']])
  const [web, dns] = await direct.list({}, soon())
  asked.length = 0
  expect((await failureOf(runOn(backend, dns!, { argv: ['id'] }))).message).toBe(
    'The agent lab refused it: "dns/main" is not on its list',
  )
  expect(await failureOf(runOn(backend, web!, { argv: ['id'], user: 'nobody' }))).toMatchObject({
    code: 'unsupported',
    ran: 'no',
  })
  expect(asked.filter((one) => one.startsWith('Exec'))).toEqual([])
})

/** The real cluster that `test/engines/kubernetes.sh` has started, and a way to it that can be watched and cut. */

import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import type { Connect } from '../../src/backends/kubernetes/api.ts'
import type { Target } from '../../src/core/model.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'

function environment(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: npm run test:engines -- kubernetes`)
  return value
}

export const cluster = {
  url: environment('KUBE_URL'),
  /** In front of the same kubelet, with the translator of a newer API server: v5.channel.k8s.io. */
  v5Url: environment('KUBE_V5_URL'),
  ca: readFileSync(environment('KUBE_CA'), 'utf8'),
  caFile: environment('KUBE_CA'),
  kubeconfig: environment('KUBECONFIG'),
  namespace: environment('KUBE_NAMESPACE'),
  certificate: { cert: environment('KUBE_EXEC_CERT'), key: environment('KUBE_EXEC_KEY') },
  tokens: {
    admin: environment('KUBE_ADMIN_TOKEN'),
    exec: environment('KUBE_EXEC_TOKEN'),
    createOnly: environment('KUBE_CREATE_ONLY_TOKEN'),
    getOnly: environment('KUBE_GET_ONLY_TOKEN'),
    none: environment('KUBE_NO_RIGHTS_TOKEN'),
  },
}
export type Who = keyof typeof cluster.tokens

export function connectAs(who: Who, server = cluster.url): Connect {
  return {
    server,
    namespace: cluster.namespace,
    headers: async () => ({ authorization: `Bearer ${cluster.tokens[who]}` }),
    transport: nodeTransport({ ca: cluster.ca }),
  }
}

const run = promisify(execFile)
const kubectlPath = environment('KUBECTL')

export async function kubectl(...args: string[]): Promise<string> {
  const { stdout } = await run(kubectlPath, ['-n', cluster.namespace, ...args], { maxBuffer: 16 * 1024 * 1024 })
  return stdout
}

/** Makes what is described, and waits until each pod of it runs. */
export async function apply(...objects: readonly { kind: string; metadata: { name: string } }[]): Promise<void> {
  execFileSync(kubectlPath, ['-n', cluster.namespace, 'apply', '-f', '-'], {
    input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }),
  })
  for (const { kind, metadata } of objects)
    if (kind === 'Pod') await kubectl('wait', '--for=condition=Ready', `pod/${metadata.name}`, '--timeout=60s')
}

/** A pod on the cluster's only node: there is no scheduler. */
export function pod(name: string, spec: { command?: string[]; [more: string]: unknown } = {}) {
  const { command = ['sleep', '1000000'], ...more } = spec
  const container = { name: 'app', image: 'drover-test/busybox:1', imagePullPolicy: 'Never', command }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: { nodeName: 'localhost', terminationGracePeriodSeconds: 1, restartPolicy: 'Never', containers: [container], ...more },
  }
}

/** Without a shell: all that its /bin holds is one program. */
export function bareName(name: string) {
  const volumeMounts = (mountPath: string) => [{ name: 'bin', mountPath }]
  const common = { image: 'drover-test/busybox:1', imagePullPolicy: 'Never' }
  return pod(name, {
    volumes: [{ name: 'bin', emptyDir: {} }],
    initContainers: [
      { name: 'fill', ...common, command: ['cp', '/bin/busybox', '/mnt/busybox'], volumeMounts: volumeMounts('/mnt') },
    ],
    containers: [{ name: 'app', ...common, command: ['/bin/busybox', 'sleep', '1000000'], volumeMounts: volumeMounts('/bin') }],
  })
}

/** The node's kubelet: killed without a word, and started again as it was. Containers and what runs in them go on meanwhile. */
export function kubeletOf(dir: string) {
  const pidOf = (name: string) => readFileSync(join(dir, 'pids', name), 'utf8').split(' ')[0] ?? ''
  const words = (pid: string, file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').filter(Boolean)
  const pid = pidOf('kubelet')
  const argv = words(pid, 'cmdline')
  const env = Object.fromEntries(
    words(pid, 'environ').map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  )
  let isRunning = true
  return {
    kill() {
      isRunning = false
      process.kill(Number(pidOf('kubelet')), 'SIGKILL')
    },
    async start() {
      if (isRunning) return
      isRunning = true
      const log = openSync(join(dir, 'logs', 'kubelet.log'), 'a')
      // In containerd's mount namespace, as it was.
      const child = spawn('nsenter', [`--mount=/proc/${pidOf('containerd')}/ns/mnt`, ...argv], {
        env,
        detached: true,
        stdio: ['ignore', log, log],
      })
      closeSync(log)
      child.unref()
      await once(child, 'spawn')
      // The script that stops the cluster knows a process by its pid and the time it started.
      const [, rest = ''] = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')
      writeFileSync(join(dir, 'pids', 'kubelet'), `${child.pid} ${rest.split(' ')[19]}\n`)
      for (const deadline = Date.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 500))) {
        try {
          await kubectl('exec', 'multi', '-c', 'app', '--', 'true')
          return
        } catch (error) {
          if (Date.now() > deadline) throw error
        }
      }
    },
  }
}

/** As another client sees them: `kubectl exec … ps`. */
export async function processesInside({ native }: Pick<Target, 'native'>, needle: string): Promise<readonly string[]> {
  const [, name = '', container = ''] = native.split('/')
  const listed = await kubectl('exec', name, '-c', container, '--', 'ps', '-o', 'pid,stat,args')
  return listed.split('\n').filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line))
}

export type Door = {
  /** The same scheme as the server behind it. */
  readonly url: string
  open(): number
  /** From now on a connection breaks after this many bytes from the server; 0 ends that. */
  breakAfter(bytes: number): void
  close(): Promise<void>
}

/** A door on loopback that hands bytes on, counts connections and can cut them without a word. */
export async function doorTo(url: string): Promise<Door> {
  const { protocol, port } = new URL(url)
  const sockets = new Set<Socket>()
  let limit = 0
  const server = createServer((client) => {
    const upstream = connectTo(Number(port), '127.0.0.1')
    let bytes = 0
    sockets.add(client)
    const end = () => {
      sockets.delete(client)
      client.destroy()
      upstream.destroy()
    }
    for (const one of [client, upstream]) one.on('error', end).on('close', end)
    client.pipe(upstream)
    upstream.on('data', (data: Buffer) => {
      bytes += data.length
      if (limit > 0 && bytes > limit) end()
      else if (!client.write(data)) {
        upstream.pause()
        client.once('drain', () => upstream.resume())
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `${protocol}//127.0.0.1:${(server.address() as AddressInfo).port}`,
    open: () => sockets.size,
    breakAfter(bytes) {
      limit = bytes
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

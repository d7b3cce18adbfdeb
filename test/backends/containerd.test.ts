/** A containerd without an engine: its settings, targets and filters, and the process document of a command. */

import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { filtersOf, targetsOf } from '../../src/backends/containerd/container.ts'
import type { Container } from '../../src/backends/containerd/engine.ts'
import { execIdOf } from '../../src/backends/containerd/exec.ts'
import { pidInside } from '../../src/backends/containerd/pid.ts'
import { idsFrom, idsIn, processOf, refuseUnsupported } from '../../src/backends/containerd/process.ts'
import { containerdSettings } from '../../src/backends/containerd/settings.ts'
import { parseConfig } from '../../src/config.ts'
import { BackendError } from '../../src/core/errors.ts'
import type { Command } from '../../src/core/model.ts'
import { createBackends } from '../../src/rooms.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { workerKinds } from '../../src/worker-kinds.ts'

const namespaces = ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type }))

const document = (spec: object) => ({ typeUrl: '', value: new TextEncoder().encode(JSON.stringify(spec)) })

const container = (id: string, labels: Record<string, string> = {}, spec: object = { linux: { namespaces } }): Container => ({
  id,
  labels,
  image: 'docker.io/library/busybox:1',
  spec: document(spec),
})

const settings = containerdSettings()

const isPrivileged = (spec: object | null) =>
  targetsOf([{ ...container('a'), spec: spec && document(spec) }], new Set(['a']), 'ctd')[0]?.privileged === true

const base = {
  args: ['nginx'],
  env: ['PATH=/bin', 'A=old', 'B=2'],
  cwd: '/app',
  user: { uid: 101, gid: 101, additionalGids: [7] },
  capabilities: { bounding: ['CAP_CHOWN'] },
  noNewPrivileges: true,
  consoleSize: { height: 1, width: 1 },
}

test('a socket and one namespace are all it takes', () => {
  expect(settings.parse({ kind: 'containerd', namespace: 'default' })).toEqual({
    kind: 'containerd',
    address: '/run/containerd/containerd.sock',
    namespace: 'default',
    parallel: 8,
  })
})

test('a node’s runtime service takes a socket alone; new containers have bounds from the start', () => {
  expect(settings.parse({ kind: 'containerd', api: 'cri' })).toMatchObject({ api: 'cri', parallel: 8 })
  expect(settings.parse({ kind: 'containerd', namespace: 'default', newContainers: {} }).newContainers).toEqual({
    networks: ['none'],
    memory: '256m',
    cpus: 1,
    processes: 256,
    snapshotter: 'overlayfs',
  })
})

test.each([
  [{ namespace: 'moby' }, 'kind docker'],
  [{}, 'one namespace'],
  [{ namespace: 'a b' }, 'one namespace'],
  [{ namespace: 'x', address: 'tcp://host:1' }, 'an absolute path'],
  [{ namespace: 'x', address: `/${'x'.repeat(108)}` }, 'at most 107'],
  [{ namespace: 'x', fifoDirectory: 'fifos' }, 'an absolute path'],
  [{ namespace: 'x', parallel: 0 }, ''],
  [{ namespace: 'x', tls: true }, 'tls'],
  [{ namespace: 'default', api: 'cri' }, 'not with api: cri'],
  [{ api: 'cri', fifoDirectory: '/tmp' }, 'not with api: cri'],
  [{ api: 'cri', newContainers: {} }, 'not with api: cri'],
  [{ api: 'docker' }, 'cri'],
  [{ namespace: 'x', newContainers: { networks: ['bridge'] } }, 'none or host'],
  [{ namespace: 'x', newContainers: { snapshotter: 'a,b' } }, 'snapshotter'],
  [{ namespace: 'x', newContainers: { mounts: { src: { source: 'volume', target: '/src' } } } }, 'no volumes'],
  [{ namespace: 'x', newContainers: { pull: 'missing' } }, 'pull'],
])('S31 settings %o are refused', (wrong, words) => {
  const result = settings.safeParse({ kind: 'containerd', ...wrong })
  expect(result.success).toBe(false)
  expect(result.error?.message).toContain(words)
})

test('Workers knows the kind, and refuses it at start-up in words', () => {
  const config = parseConfig('backends: { node: { kind: containerd, namespace: k8s.io } }', 'drover.yaml', {})
  expect(() => createBackends(config, { transport: workerTransport, kinds: workerKinds })).toThrow(
    /same machine as drover, and Workers has none/,
  )
})

test('gRPC is loaded with the first call, and not before', () => {
  const text = `
    import { createRequire } from 'node:module'
    const { outsideOf } = await import(process.argv[1])
    const { kinds } = await outsideOf({ backends: { x: { kind: 'containerd' } } })
    const { cache } = createRequire(import.meta.url)
    const isLoaded = () => Object.keys(cache).some((path) => path.includes('@grpc'))
    const backend = kinds.containerd({ name: 'x', namespace: 'x', address: '/nonexistent.sock', parallel: 8 })
    const before = isLoaded()
    await backend.list({}, AbortSignal.timeout(10_000)).catch(() => {})
    console.log(before, isLoaded())`
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', text, join(root, 'src/local.ts')], {
    cwd: root,
    encoding: 'utf8',
  })
  expect(said).toBe('false true\n')
}, 60_000)

test('only what runs is a target, under the name that nerdctl gave it', () => {
  const found = targetsOf([container('a'), container('b', { 'nerdctl/name': 'web' })], new Set(['b', 'c']), 'ctd')
  expect(found.map(({ id, name, native }) => [id, name, native])).toEqual([['ctd/b', 'web', 'b']])
})

test('S45 the host’s namespaces, strong capabilities, and a spec that cannot be read count as privileged', () => {
  const capabilities = (bounding: readonly string[]) => ({ linux: { namespaces }, process: { capabilities: { bounding } } })
  expect(isPrivileged({ linux: { namespaces } })).toBe(false)
  expect(isPrivileged(capabilities(['CAP_CHOWN']))).toBe(false)
  for (const one of ['CAP_SYS_ADMIN', 'CAP_SYS_MODULE', 'CAP_SYS_RAWIO', 'CAP_SYS_PTRACE', 'CAP_DAC_READ_SEARCH', 'CAP_BPF'])
    expect([one, isPrivileged(capabilities(['CAP_CHOWN', one]))]).toEqual([one, true])
  for (const { type } of namespaces.filter((one) => one.type !== 'uts'))
    expect(isPrivileged({ linux: { namespaces: namespaces.filter((one) => one.type !== type) } })).toBe(true)
  const shared = (path: string) => ({ linux: { namespaces: [{ type: 'pid', path }, ...namespaces.slice(1)] } })
  expect(isPrivileged(shared('/proc/1/ns/pid'))).toBe(true)
  // Whose process that is, nothing here says.
  expect(isPrivileged(shared('/proc/4711/ns/pid'))).toBe(true)
  expect(isPrivileged(shared('/var/run/netns/one'))).toBe(false)
  const mounting = (source: string) => isPrivileged({ linux: { namespaces }, mounts: [{ source: 'proc' }, { source }] })
  for (const source of [
    '/',
    '/etc',
    '/run/containerd/containerd.sock',
    '/run/containerd',
    '/var/run/docker/',
    '/run/podman',
    '/var/run/crio',
    '/var//lib/kubelet/',
  ])
    expect([source, mounting(source)]).toEqual([source, true])
  for (const source of ['/srv/data', '/etc/hosts', '/var/lib/kubelet/pods/1/etc-hosts', 'sysfs'])
    expect([source, mounting(source)]).toEqual([source, false])
  expect(isPrivileged({ linux: { namespaces, devices: [{ path: '/dev/sda' }] } })).toBe(true)
  expect(isPrivileged({ linux: { namespaces, devices: [] }, mounts: null })).toBe(false)
  expect(isPrivileged({ windows: {} })).toBe(true)
  expect(isPrivileged(null)).toBe(true)
})

test('S45 a pod with the host’s network, processes or IPC counts as privileged, though its containers name the sandbox’s namespaces', () => {
  // As the CRI writes them (pkg/cri/opts, WithPodNamespaces).
  const inPod = namespaces.map(({ type }) =>
    type === 'mount' ? { type } : { type, path: `/proc/4711/ns/${type === 'network' ? 'net' : type}` },
  )
  const pod = { 'io.kubernetes.pod.uid': 'u1' }
  const sandboxLabels = { ...pod, 'io.cri-containerd.kind': 'sandbox' }
  const isStrong = (...sandboxes: readonly (readonly object[])[]) =>
    targetsOf(
      [
        container('c', pod, { linux: { namespaces: inPod } }),
        container('other', { 'io.kubernetes.pod.uid': 'u2', 'io.cri-containerd.kind': 'sandbox' }),
        ...sandboxes.map((own, at) => container(`s${at}`, sandboxLabels, { linux: { namespaces: own } })),
      ],
      new Set(['c']),
      'ctd',
    )[0]?.privileged === true
  const usual = namespaces.map((one) => (one.type === 'network' ? { ...one, path: '/var/run/netns/cni-1' } : one))
  expect(isStrong(usual)).toBe(false)
  for (const missing of ['network', 'pid', 'ipc']) {
    const lacking = usual.filter(({ type }) => type !== missing)
    expect([missing, isStrong(lacking), isStrong(lacking, usual), isStrong(usual, lacking)]).toEqual([missing, true, true, true])
  }
  expect(isStrong()).toBe(true)
})

test('only what means the same to containerd is asked of it', () => {
  const labels = [
    { op: 'eq', key: 'app', value: 'web' },
    { op: 'exists', key: 'io.x/y' },
    { op: 'word', word: 'web' },
    { op: 'ne', key: 'tier', value: 'db' },
    { op: 'eq', key: 'a"b', value: 'c' },
    { op: 'eq', key: 'motd', value: 'two words' },
  ] as const
  expect(filtersOf({ labels, id: 'ab1' }, 'default')).toEqual(['id~="^ab1",labels."app"=="web",labels."io.x/y"'])
  expect(filtersOf({ name: 'web-*', id: 'a.c' }, 'default')).toEqual([])
  expect(filtersOf({ labels }, 'k8s.io')).toEqual([])
  // A whole name is the id, or what nerdctl has given.
  expect(filtersOf({ name: 'web-1', labels: labels.slice(0, 1) }, 'default')).toEqual([
    'id=="web-1",labels."app"=="web"',
    'labels."nerdctl/name"=="web-1",labels."app"=="web"',
  ])
  for (const name of ['web-?', 'pod/main', 'a"b', 'a,b', '']) expect(filtersOf({ name }, 'default')).toEqual([])
})

test('[exact-argv] a process is the container’s own but for what was asked', () => {
  const command: Command = { argv: ['sh', '-c', '$(id)'], env: { A: 'x=y' } }
  expect(processOf(base, command, 'e1')).toEqual({
    args: ['sh', '-c', '$(id)'],
    env: ['PATH=/bin', 'B=2', 'A=x=y', 'DROVER_EXEC=e1'],
    cwd: '/app',
    user: { uid: 101, gid: 101, additionalGids: [7] },
    capabilities: { bounding: ['CAP_CHOWN'] },
    noNewPrivileges: true,
    terminal: false,
  })
  expect(processOf(base, { ...command, dir: '/srv', tty: true }, 'e1', { uid: 5, gid: 6 })).toMatchObject({
    cwd: '/srv',
    terminal: true,
    user: { uid: 5, gid: 6, additionalGids: [] },
  })
})

test('a container that names no PATH gets the usual one', () => {
  const { env } = processOf({ env: ['A=1'] }, { argv: ['sh'] }, 'e1') as { env: readonly string[] }
  expect(env).toEqual(['A=1', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'DROVER_EXEC=e1'])
  expect((processOf({}, { argv: ['sh'], env: { PATH: '/x' } }, 'e1') as { env: readonly string[] }).env[0]).toBe('PATH=/x')
})

test('a user is two numbers, or what the container’s own files say; nothing is guessed', () => {
  const files =
    'root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/false\nroot:x:0:\nweb:x:33:\nlogs:x:50:a,web\nodd:x:-1:0::/:\n'
  expect(idsIn('0:0')).toEqual({ uid: 0, gid: 0 })
  expect(idsIn('33')).toBeUndefined()
  expect(() => idsIn('4294967295:0')).toThrow(BackendError)
  expect(idsFrom(files, 'web')).toEqual({ uid: 33, gid: 33, additionalGids: [50] })
  expect(idsFrom(files, '33')).toEqual({ uid: 33, gid: 33, additionalGids: [50] })
  expect(idsFrom(files, 'web:logs')).toEqual({ uid: 33, gid: 50, additionalGids: [] })
  for (const user of ['bob', '1000', 'web:nobody', 'odd', 'logs:root', ':', ''])
    expect(() => idsFrom(files, user)).toThrow(BackendError)
})

test('what a process cannot be given is refused before anything is asked', () => {
  const wrong: readonly Partial<Command>[] = [
    { argv: ['a\0b'] },
    { dir: 'srv' },
    { env: { 'A=B': '' } },
    { env: { DROVER_EXEC: 'x' } },
    { argv: ['true', 'é'.repeat(65_536)] },
    { stdin: 'x', tty: true },
  ]
  for (const one of wrong) expect(() => refuseUnsupported({ argv: ['true'], ...one })).toThrow(BackendError)
  refuseUnsupported({ argv: ['true', 'x'.repeat(131_071)] })
})

test('S42 the id for containerd does not hold the mark that the kill looks for', () => {
  const exec = '0123456789abcdef0123456789abcde1'
  expect(execIdOf(exec)).not.toContain(exec)
  expect(execIdOf(exec)).toMatch(/^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$/)
})

test('a pid inside is believed only of a process of that very container', async () => {
  const files: Record<string, string> = {
    '/proc/10/cgroup': '0::/k8s/web-1\n',
    '/proc/10/status': 'Name:\tsh\nNSpid:\t10\t7\n',
    '/proc/11/cgroup': '0::/k8s/web-10\n',
    '/proc/11/status': 'NSpid:\t11\t8\n',
    '/proc/12/cgroup': '0::/kubepods.slice/cri-containerd-web-1.scope\n',
    '/proc/12/status': 'NSpid:\t12\t3\t9\n',
    '/proc/13/cgroup': '0::/k8s/web-1\n',
    '/proc/13/status': 'NSpid:\t99\t9\n',
  }
  const machine = {
    env: {},
    home: '/',
    readText: async (path: string) => files[path],
    run: () => Promise.reject(new Error('no')),
  }
  const inside = await Promise.all([10, 11, 12, 13, 14].map((pid) => pidInside(machine, pid, 'web-1')))
  expect(inside).toEqual([7, undefined, 9, undefined, undefined])
})

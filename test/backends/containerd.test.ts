/** What needs no engine: settings, targets and filters, process documents, refusals in words, turns, and streams as they arrive. */

import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { filtersOf, targetsOf } from '../../src/backends/containerd/container.ts'
import { type Container, EngineError } from '../../src/backends/containerd/engine.ts'
import { lost, notCreated, notMade, notStarted, refusal } from '../../src/backends/containerd/errors.ts'
import { execIdOf } from '../../src/backends/containerd/exec.ts'
import { type Arriving, together } from '../../src/backends/containerd/output.ts'
import { pidInside } from '../../src/backends/containerd/pid.ts'
import { idsFrom, idsIn, processOf, refuseUnsupported } from '../../src/backends/containerd/process.ts'
import { containerdSettings } from '../../src/backends/containerd/settings.ts'
import { createSlots } from '../../src/backends/containerd/slots.ts'
import { parseConfig } from '../../src/config.ts'
import { BackendError } from '../../src/core/errors.ts'
import type { Command, ExecEvent } from '../../src/core/model.ts'
import { createBackends } from '../../src/rooms.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { workerKinds } from '../../src/worker-kinds.ts'

const settings = containerdSettings()
const soon = () => AbortSignal.timeout(10_000)

// ---- settings --------------------------------------------------------------------------------

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

// ---- targets ---------------------------------------------------------------------------------

const namespaces = ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type }))
const document = (spec: object) => ({ typeUrl: '', value: new TextEncoder().encode(JSON.stringify(spec)) })
const container = (id: string, labels: Record<string, string> = {}, spec: object = { linux: { namespaces } }): Container => ({
  id,
  labels,
  image: 'docker.io/library/busybox:1',
  spec: document(spec),
})
const isPrivileged = (spec: object | null) =>
  targetsOf([{ ...container('a'), spec: spec && document(spec) }], new Set(['a']), 'ctd')[0]?.privileged === true

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

// ---- process documents -----------------------------------------------------------------------

const base = {
  args: ['nginx'],
  env: ['PATH=/bin', 'A=old', 'B=2'],
  cwd: '/app',
  user: { uid: 101, gid: 101, additionalGids: [7] },
  capabilities: { bounding: ['CAP_CHOWN'] },
  noNewPrivileges: true,
  consoleSize: { height: 1, width: 1 },
}

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

// ---- refusals --------------------------------------------------------------------------------

const started = (message: string, argv: readonly string[] = ['x']) =>
  notStarted(new EngineError('UNKNOWN', message), { argv, dir: '/srv' }, 'web')
const runc = 'OCI runtime exec failed: exec failed: unable to start container process: '

test.each([
  [`${runc}exec: "x": executable file not found in $PATH: unknown`, 'command_not_found', 'There is no x in the container.'],
  [`${runc}exec: "/x": stat /x: no such file or directory: unknown`, 'command_not_found', 'There is no x in the container.'],
  [
    `${runc}exec: "/x": permission denied: unknown`,
    'command_not_found',
    'x is in the container, but cannot be run there: permission denied.',
  ],
  [
    `${runc}chdir to cwd ("/srv") set in config.json failed: no such file or directory: unknown`,
    'command_not_found',
    'The directory /srv is not there',
  ],
  [
    `${runc}exec: "cannot exec in a paused state chdir to cwd": executable file not found in $PATH`,
    'command_not_found',
    'There is no x',
  ],
  [
    'OCI runtime exec failed: executable file `x` not found in $PATH: No such file or directory: unknown',
    'command_not_found',
    'There is no x',
  ],
  [`${runc}something new: unknown`, 'backend_unavailable', 'something new'],
])('%s: it did not run', (message, code, words) => {
  const error = started(message)
  expect(error).toMatchObject({ code, ran: 'no' })
  expect((error as BackendError).message).toContain(words)
})

test.each([
  ['exec: "x": executable file not found in $PATH: unknown', 'command_not_found', 'There is no x in the container.'],
  ['exec: "/x": permission denied: unknown', 'command_not_found', 'permission denied'],
  ['error during container init: mkdir /srv: not a directory: unknown', 'command_not_found', 'The directory /srv'],
  [
    'error mounting "/nowhere" to rootfs at "/src": stat /nowhere: no such file or directory: unknown',
    'backend_unavailable',
    '/nowhere',
  ],
  ['container init was OOM-killed (memory limit too low?): unknown', 'backend_unavailable', 'OOM-killed'],
])('a new container whose making ends with %s has not run', (message, code, words) => {
  const said = `failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ${message}`
  const error = notCreated(new EngineError('UNKNOWN', said), { argv: ['x'], dir: '/srv' })
  expect(error).toMatchObject({ code, ran: 'no' })
  expect((error as BackendError).message).toContain(words)
  // Whatever kept it from being made: its first process was never told to begin.
  for (const lost of ['UNAVAILABLE', 'DEADLINE_EXCEEDED'] as const)
    expect(notCreated(new EngineError(lost, 'Connection dropped'), { argv: ['x'] })).toMatchObject({ ran: 'no' })
  const bug = new TypeError('a bug')
  expect(notCreated(bug, { argv: ['x'] })).toBe(bug)
})

test.each([
  'ttrpc: closed: unknown',
  'OCI runtime exec failed: unable to retrieve OCI runtime error (open log.json): runc did not terminate successfully: exit status 137',
  'the words OCI runtime exec failed in the middle',
])('[true-ending] S41 "%s" proves nothing: it may have run', (message) => {
  expect(started(message)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
})

test('[true-ending] S41 a start that is not answered may have run, and so may what is no longer told of', () => {
  const late = new EngineError('DEADLINE_EXCEEDED', 'Deadline exceeded')
  expect(notStarted(late, { argv: ['x'] }, 'web')).toMatchObject({ code: 'timeout', ran: 'maybe' })
  expect(notStarted(new EngineError('UNAVAILABLE', 'Connection dropped'), { argv: ['x'] }, 'web')).toMatchObject({ ran: 'maybe' })
  expect(lost(new EngineError('UNAVAILABLE', 'Connection dropped\n\x1b[0m'))).toMatchObject({
    code: 'stream_broken',
    ran: 'maybe',
  })
  const bug = new TypeError('a bug')
  expect([lost(bug), notStarted(bug, { argv: ['x'] }, 'web'), refusal(bug, { address: '/s', about: 'x' })]).toEqual([
    bug,
    bug,
    bug,
  ])
})

test.each([
  ['UNAVAILABLE', 'No connection established. Last error: connect ENOENT /s', 'backend_unavailable', 'There is no socket at /s.'],
  ['UNAVAILABLE', 'No connection established. Last error: connect EACCES /s', 'backend_forbidden', 'may not open'],
  ['UNAVAILABLE', 'Connection dropped', 'backend_unavailable', 'Connection dropped'],
  ['NOT_FOUND', 'container "x" in namespace "y": not found', 'backend_not_found', 'does not know it'],
  ['DEADLINE_EXCEEDED', '', 'timeout', 'in time'],
  ['UNIMPLEMENTED', '', 'backend_protocol', 'not containerd'],
  ['INTERNAL', 'odd', 'backend_protocol', 'INTERNAL: odd'],
] as const)('%s "%s" is told as %s', (code, message, told, words) => {
  const error = refusal(new EngineError(code, message), { address: '/s', about: 'it' })
  expect(error).toMatchObject({ code: told, ran: 'no' })
  expect((error as BackendError).message).toContain(words)
})

test.each([
  ['cannot exec in a paused state: unknown', 'is paused'],
  ['cannot exec in a stopped state: unknown', 'is not running'],
])('%s', (message, words) => {
  const error = notMade(new EngineError('UNKNOWN', message), 'web', '/s')
  expect(error).toMatchObject({ code: 'not_running', ran: 'no' })
  expect((error as BackendError).message).toContain(words)
})

// ---- turns -----------------------------------------------------------------------------------

test('[bounded] so many at a time in one container; another’s places are its own', async () => {
  const slots = createSlots(2, 10_000)
  const leave = [await slots.enter('a', soon()), await slots.enter('a', soon())]
  await slots.enter('b', soon())
  const inside: string[] = []
  const enter = (name: string) => slots.enter('a', soon()).finally(() => inside.push(name))
  const third = enter('third')
  const fourth = enter('fourth')
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(inside).toEqual([])
  // Who leaves twice makes one place.
  leave[0]?.()
  leave[0]?.()
  const out = await third
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(inside).toEqual(['third'])
  out()
  await fourth
})

test('[bounded] who waits too long for a place, or is given up, is told that nothing ran, and takes none', async () => {
  const slots = createSlots(1, 20)
  const leave = await slots.enter('a', soon())
  await expect(slots.enter('a', soon())).rejects.toMatchObject({ code: 'backend_unavailable', ran: 'no' })
  await expect(slots.enter('a', AbortSignal.timeout(1))).rejects.toMatchObject({ code: 'stream_broken', ran: 'no' })
  leave()
  await slots.enter('a', soon())
})

// ---- streams ---------------------------------------------------------------------------------

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield new TextEncoder().encode(text)
}
async function collect(sources: readonly Arriving[], exit: Promise<number>, restMs = 10_000, signal = soon()) {
  const text = { stdout: '', stderr: '' }
  const events = together(sources, { exit, signal, restMs })
  for (;;) {
    const { value, done } = await events.next()
    if (done) return { ...text, ...value }
    const event: ExecEvent = value
    if (event.type === 'output') text[event.stream] += new TextDecoder().decode(event.data)
  }
}

test('both streams arrive whole before the exit code does, in whatever order they end', async () => {
  const sources: Arriving[] = [
    { stream: 'stdout', data: pieces('a', 'b', 'c') },
    { stream: 'stderr', data: pieces('x') },
  ]
  expect(await collect(sources, Promise.resolve(3))).toEqual({ stdout: 'abc', stderr: 'x', code: 3, isWhole: true })
})

test('a stream that a child holds open is waited for so long, and not longer', async () => {
  async function* held(): AsyncGenerator<Uint8Array> {
    yield* pieces('begin')
    await new Promise(() => {})
  }
  expect(await collect([{ stream: 'stdout', data: held() }], Promise.resolve(0), 20)).toEqual({
    stdout: 'begin',
    stderr: '',
    code: 0,
    isWhole: false,
  })
})

test('[bounded] a child that writes for ever after the end is not followed for ever', async () => {
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield new Uint8Array(65_536).fill(120)
  }
  const { stdout, isWhole } = await collect([{ stream: 'stdout', data: endless() }], Promise.resolve(0))
  expect(isWhole).toBe(false)
  expect(stdout.length).toBeLessThan(2 * 1024 * 1024)
})

test('[bounded] a stream is read no further than it is taken', async () => {
  let read = 0
  async function* counted(): AsyncGenerator<Uint8Array> {
    for (; read < 100; read += 1) yield new Uint8Array([120])
  }
  const events = together([{ stream: 'stdout', data: counted() }], { exit: new Promise(() => {}), signal: soon(), restMs: 1 })
  await events.next()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(read).toBeLessThan(3)
  await events.return({ code: 0, isWhole: false })
})

test('[true-ending] S41 what came before the loss is told, then the loss, and no exit', async () => {
  const failed = Promise.reject(new EngineError('UNAVAILABLE', 'Connection dropped'))
  failed.catch(() => {})
  const seen: string[] = []
  const events = together([{ stream: 'stdout', data: pieces('a', 'b') }], { exit: failed, signal: soon(), restMs: 1 })
  await expect(
    (async () => {
      for await (const event of events) if (event.type === 'output') seen.push(new TextDecoder().decode(event.data))
    })(),
  ).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(seen[0]).toBe('a')
})

test('an abort ends it with an error that says it may have run', async () => {
  const idle: Arriving = { stream: 'stdout', data: { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) } }
  await expect(collect([idle], new Promise(() => {}), 1, AbortSignal.timeout(10))).rejects.toMatchObject({
    code: 'stream_broken',
    ran: 'maybe',
  })
})

/** New containers as far as no engine is needed: names of images, the snapshot that holds their layers, and the runtime spec. */

import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Engine } from '../../src/backends/containerd/engine.ts'
import { chainOf, type ImageConfig, namesOf, partsOf } from '../../src/backends/containerd/image.ts'
import { swept } from '../../src/backends/containerd/new-container.ts'
import { seccompFor } from '../../src/backends/containerd/seccomp.ts'
import { type Confinement, confinementOf, specOfNew } from '../../src/backends/containerd/spec.ts'

const D = `sha256:${'a'.repeat(64)}`

test.each([
  ['alpine', ['alpine', 'docker.io/library/alpine:latest']],
  ['alpine:3', ['alpine:3', 'docker.io/library/alpine:3']],
  ['me/tools:1', ['me/tools:1', 'docker.io/me/tools:1']],
  ['registry.example.com/tools', ['registry.example.com/tools', 'registry.example.com/tools:latest']],
  ['registry.example.com:5000/a/b:1', ['registry.example.com:5000/a/b:1']],
  ['localhost/tools:1', ['localhost/tools:1']],
  [`alpine:3@${D}`, [`alpine:3@${D}`, `docker.io/library/alpine@${D}`]],
])('%s is looked for as %j', (name, names) => {
  expect(namesOf(name)).toEqual(names)
})

test('a name is a repository, a tag and a digest', () => {
  expect(partsOf(`registry:5000/a:1@${D}`)).toEqual({ repository: 'registry:5000/a', tag: '1', digest: D })
  expect(partsOf('a/b')).toEqual({ repository: 'docker.io/a/b', tag: undefined, digest: undefined })
})

test('layers are chained as the image spec says', async () => {
  const sha = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`
  expect(await chainOf([D])).toBe(D)
  expect(await chainOf([D, 'sha256:b', 'sha256:c'])).toBe(sha(`${sha(`${D} sha256:b`)} sha256:c`))
})

const image: ImageConfig = { architecture: 'amd64', snapshot: D, env: ['PATH=/bin', 'A=image'], dir: '/data', user: 'web' }
const confinement: Confinement = {
  network: 'none',
  memoryBytes: 64 * 1024 ** 2,
  cpus: 0.25,
  processes: 50,
  limitsSwap: true,
  mounts: [],
  hostFiles: [],
}
type Spec = {
  process: {
    args: string[]
    env: string[]
    cwd: string
    user: object
    noNewPrivileges: boolean
    capabilities: { bounding: string[]; effective: string[]; permitted: string[] }
  }
  root: object
  mounts: { destination: string; type: string; source: string; options: string[] }[]
  linux: { namespaces: { type: string }[]; resources: object; maskedPaths: string[]; cgroupsPath: string }
}
const specOf = (more: Partial<Confinement> = {}) =>
  specOfNew(
    'drover-x',
    {
      image,
      command: { argv: ['sh', '-c', '$(id)'], env: { A: 'mine' } },
      exec: 'e1',
      ids: { uid: 33, gid: 44, additionalGids: [50] },
    },
    { ...confinement, ...more },
  ) as Spec

test('[exact-argv] S45 a new container has the command alone, the bounds, and none of the host’s namespaces', () => {
  const { process, linux } = specOf()
  expect(process).toMatchObject({
    args: ['sh', '-c', '$(id)'],
    env: ['PATH=/bin', 'A=mine', 'DROVER_EXEC=e1'],
    cwd: '/data',
    user: { uid: 33, gid: 44, additionalGids: [50] },
    noNewPrivileges: true,
  })
  for (const strong of ['CAP_SYS_ADMIN', 'CAP_SYS_MODULE', 'CAP_SYS_PTRACE', 'CAP_NET_ADMIN', 'CAP_DAC_READ_SEARCH'])
    expect(process.capabilities.bounding).not.toContain(strong)
  expect(linux.namespaces.map(({ type }) => type).sort()).toEqual(['ipc', 'mount', 'network', 'pid', 'uts'])
  expect(linux.resources).toEqual({
    devices: [{ allow: false, access: 'rwm' }],
    memory: { limit: 67_108_864, swap: 67_108_864 },
    cpu: { quota: 25_000, period: 100_000 },
    pids: { limit: 50 },
  })
  expect(linux.maskedPaths).toContain('/proc/kcore')
  expect(linux.cgroupsPath.endsWith('/drover-x')).toBe(true)
})

test('S45 of capabilities those are left that are named; read-only has a /tmp of its own, where nothing else is mounted', () => {
  const { process, root } = specOf()
  expect(process.capabilities.bounding).toHaveLength(14)
  expect(root).toEqual({ path: 'rootfs' })
  const kept = specOf({ capabilities: ['CHOWN'], readOnly: true })
  const { bounding, effective, permitted } = kept.process.capabilities
  expect([bounding, effective, permitted]).toEqual([['CAP_CHOWN'], ['CAP_CHOWN'], ['CAP_CHOWN']])
  expect(kept.root).toEqual({ path: 'rootfs', readonly: true })
  const tmp = (spec: Spec) => spec.mounts.filter(({ destination }) => /^\/tmp\/?$/.test(destination)).map(({ type }) => type)
  expect(tmp(kept)).toEqual(['tmpfs'])
  expect(tmp(specOf({ readOnly: true, mounts: [{ source: '/srv', target: '/tmp/' }] }))).toEqual(['bind'])
  expect(specOf({ capabilities: [] }).process.capabilities.bounding).toEqual([])
})

test('S45 the host’s network brings its files along, read-only, and mounts are read-only unless they say otherwise', () => {
  const { linux, mounts } = specOf({
    network: 'host',
    limitsSwap: false,
    hostFiles: ['/etc/hosts'],
    mounts: [
      { source: '/srv/a', target: '/a' },
      { source: '/srv/b', target: '/b', writable: true },
    ],
  })
  expect(linux.namespaces.map(({ type }) => type)).not.toContain('network')
  expect(linux.resources).toMatchObject({ memory: { limit: 67_108_864 } })
  expect(linux.resources).not.toHaveProperty('memory.swap')
  const binds = mounts.filter(({ options }) => options.includes('rbind'))
  expect(binds.map(({ source, destination, options }) => [source, destination, options[1]])).toEqual([
    ['/etc/hosts', '/etc/hosts', 'ro'],
    ['/srv/a', '/a', 'ro'],
    ['/srv/b', '/b', 'rw'],
  ])
  for (const { options } of binds) expect(options).toEqual(expect.arrayContaining(['nosuid', 'nodev']))
})

test('S45 calls that lead out of a container are refused on every architecture that its kernel runs', () => {
  const { architectures, syscalls } = seccompFor('amd64') as {
    architectures: string[]
    syscalls: { names: string[]; action: string; errnoRet: number; args?: { value: number }[] }[]
  }
  expect(architectures).toEqual(['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'])
  expect(syscalls.every(({ action, errnoRet }) => action === 'SCMP_ACT_ERRNO' && errnoRet > 0)).toBe(true)
  const always = syscalls.filter(({ args }) => args === undefined).flatMap(({ names }) => names)
  for (const name of ['mount', 'setns', 'unshare', 'bpf', 'open_by_handle_at', 'init_module', 'kexec_load', 'keyctl', 'clone3'])
    expect(always).toContain(name)
  expect(always).not.toContain('clone')
  const flags = syscalls.filter(({ names }) => names[0] === 'clone').flatMap(({ args = [] }) => args.map(({ value }) => value))
  expect(flags.reduce((all, one) => all | one, 0)).toBe(0x7e020000)
  // Another one's own is all that a filter knows there.
  expect(seccompFor('riscv64')).not.toHaveProperty('architectures')
})

test('swap is limited where the kernel counts it, and the host’s files are brought where they are', async () => {
  const machine = (...paths: readonly string[]) => ({ readText: async (path: string) => (paths.includes(path) ? '' : undefined) })
  const memory = '/sys/fs/cgroup/memory'
  const swap = async (...paths: readonly string[]) => (await confinementOf(machine(...paths), 'none')).limitsSwap
  expect(await swap()).toBe(true)
  expect(await swap(`${memory}/memory.limit_in_bytes`)).toBe(false)
  expect(await swap(`${memory}/memory.limit_in_bytes`, `${memory}/memory.memsw.limit_in_bytes`)).toBe(true)
  expect((await confinementOf(machine('/etc/hosts'), 'host')).hostFiles).toEqual(['/etc/hosts'])
  expect((await confinementOf(machine('/etc/hosts'), 'none')).hostFiles).toEqual([])
})

test('what only bears drover’s labels is swept by nobody: those of a container may come to be an image’s, and so another container’s', async () => {
  const removed: string[] = []
  const labels = { 'drover.helper': 'new', 'drover.exec': 'abc', 'drover.deadline': '1' }
  const found = [
    { id: 'drover-cba', labels },
    { id: 'web', labels },
    { id: 'drover-', labels: { ...labels, 'drover.exec': '' } },
    { id: 'drover-cbb', labels },
    { id: 'drover-b', labels: { 'drover.helper': 'new', 'drover.exec': 'b' } },
    { id: 'drover-c', labels: { 'drover.helper': 'new', 'drover.exec': 'c', 'drover.deadline': 'soon' } },
    { id: 'drover-d', labels: { 'drover.helper': 'new', 'drover.exec': 'd', 'drover.deadline': String(Date.now() + 60_000) } },
  ]
  const engine = {
    containers: async () => found,
    removeTask: async () => {},
    removeContainer: async (id: string) => void removed.push(id),
    removeSnapshot: async () => {},
    endLease: async () => {},
  } as unknown as Engine
  await swept(engine, '/run/containerd.sock', AbortSignal.timeout(5_000))
  expect(removed).toEqual(['drover-cba'])
})

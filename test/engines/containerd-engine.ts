/** Containers on a real containerd, made with its own client `ctr`; and a containerd that a test may kill. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const image = () => `docker.io/${given('DOCKER_TEST_IMAGE')}`

export function given(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: test/engines/run.sh starts the engine and says where it is`)
  return value
}

export type Ctr = (...args: readonly string[]) => string

export function ctrAt(address: string, namespace: string): Ctr {
  return (...args) =>
    execFileSync('ctr', ['-a', address, '-n', namespace, ...args], { encoding: 'utf8', stdio: 'pipe', timeout: 60_000 })
}

/** Starts a container of the test image, or of a root file system. */
export function startContainer(
  ctr: Ctr,
  id: string,
  options: {
    readonly labels?: Readonly<Record<string, string>>
    readonly rootfs?: string
    readonly flags?: readonly string[]
    readonly argv?: readonly string[]
  } = {},
): void {
  const labels = Object.entries(options.labels ?? {}).flatMap(([key, value]) => ['--label', `${key}=${value}`])
  const what = options.rootfs === undefined ? [image()] : ['--rootfs', options.rootfs]
  ctr('run', '-d', ...labels, ...(options.flags ?? []), ...what, id, ...(options.argv ?? ['sleep', '1000000']))
}

/** What `ctr` has no flag for: a container without a pid namespace of its own. */
export function startWithHostPids(ctr: Ctr, id: string, rootfs: string): void {
  const spec = JSON.parse(ctr('oci', 'spec'))
  spec.root = { path: rootfs, readonly: false }
  spec.process.args = ['/bin/sleep', '1000000']
  spec.process.env = ['PATH=/bin']
  spec.linux.cgroupsPath = `/drover-test/${id}`
  spec.linux.namespaces = spec.linux.namespaces.filter(({ type }: { type: string }) => type !== 'pid')
  const file = join(rootfs, 'config.json')
  writeFileSync(file, JSON.stringify(spec))
  ctr('run', '-d', '--config', file, id)
}

/** The pid of the shim that holds a container: the parent of its main process. */
export function shimOf(ctr: Ctr, id: string): number {
  const row = ctr('tasks', 'ls')
    .split('\n')
    .find((line) => line.startsWith(`${id} `))
  const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${row?.trim().split(/\s+/)[1]}/status`, 'utf8'))?.[1]
  return Number(parent)
}

export function removeContainers(ctr: Ctr): void {
  for (const id of ctr('tasks', 'ls', '-q').split('\n').filter(Boolean)) ctr('tasks', 'rm', '-f', id)
  for (const id of ctr('containers', 'ls', '-q').split('\n').filter(Boolean)) ctr('containers', 'rm', id)
}

/** From the host's own view, so that nothing has to be run in there. */
export function commandsInside(container: string, needle: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const isInside = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
          .split('\n')
          .some((line) => line.endsWith(`/${container}`))
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        return isInside && line.includes(needle) ? [line] : []
      } catch {
        return []
      }
    })
}

/** A root file system of busybox under these names, and nothing else. */
export function rootOf(names: readonly string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'drover-root-'))
  mkdirSync(join(root, 'bin'))
  for (const folder of ['proc', 'sys', 'dev', 'tmp']) mkdirSync(join(root, folder))
  const [first, ...others] = names
  copyFileSync('/bin/busybox', join(root, 'bin', first ?? 'busybox'))
  for (const name of others) symlinkSync(first ?? 'busybox', join(root, 'bin', name))
  return root
}

export type OwnContainerd = {
  readonly address: string
  start(): Promise<void>
  /** As a crash: what its shims run goes on. */
  crash(): Promise<void>
  stop(): Promise<void>
}

/** Apart from the one that other tests use. */
export function ownContainerd(): OwnContainerd {
  const folder = mkdtempSync(join(tmpdir(), 'ctd-'))
  const address = join(folder, 's')
  const file = join(folder, 'config.toml')
  writeFileSync(
    file,
    `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${address}"
`,
  )
  let child: ChildProcess | undefined
  const ended = async (signal: NodeJS.Signals) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const closed = new Promise((resolve) => child?.once('close', resolve))
    child.kill(signal)
    await closed
  }
  return {
    address,
    async start() {
      if (child?.exitCode === null && child.signalCode === null) return
      child = spawn('containerd', ['--config', file], { stdio: 'ignore' })
      const ctr = ctrAt(address, 'default')
      for (const until = Date.now() + 30_000; ; ) {
        try {
          ctr('version')
          return
        } catch (error) {
          if (Date.now() > until || child.exitCode !== null) throw error
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
      }
    },
    crash: () => ended('SIGKILL'),
    async stop() {
      await ended('SIGTERM')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** An image made from root file systems, each one layer, for this machine's platform and for another; OCI image layout, as `ctr` imports it. */
export function importImage(
  ctr: Ctr,
  name: string,
  made: { readonly layers: readonly string[]; readonly config?: object; readonly flags?: readonly string[] },
): void {
  const folder = mkdtempSync(join(tmpdir(), 'drover-image-'))
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true })
  const blob = (mediaType: string, data: Buffer | object) => {
    const bytes = Buffer.isBuffer(data) ? data : Buffer.from(JSON.stringify(data))
    const digest = createHash('sha256').update(bytes).digest('hex')
    writeFileSync(join(folder, 'blobs/sha256', digest), bytes)
    return { mediaType, digest: `sha256:${digest}`, size: bytes.byteLength }
  }
  const oci = (what: string) => `application/vnd.oci.image.${what}`
  const layers = made.layers.map((root) =>
    blob(oci('layer.v1.tar'), execFileSync('tar', ['-C', root, '--sort=name', '-c', '.'], { maxBuffer: 64 * 1024 * 1024 })),
  )
  const manifestFor = (architecture: string) => {
    const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) }
    const config = blob(oci('config.v1+json'), { os: 'linux', architecture, rootfs, config: made.config ?? {} })
    const manifest = blob(oci('manifest.v1+json'), { schemaVersion: 2, mediaType: oci('manifest.v1+json'), config, layers })
    return { ...manifest, platform: { os: 'linux', architecture } }
  }
  const own = process.arch === 'arm64' ? 'arm64' : 'amd64'
  const manifests = [manifestFor('s390x'), manifestFor(own)]
  const index = blob(oci('index.v1+json'), { schemaVersion: 2, mediaType: oci('index.v1+json'), manifests })
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...index, annotations: { 'io.containerd.image.name': name } }] }),
  )
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  const file = `${folder}.tar`
  execFileSync('tar', ['-C', folder, '-c', '-f', file, '.'])
  try {
    ctr('images', 'import', ...(made.flags ?? []), file)
  } finally {
    for (const path of [folder, file]) rmSync(path, { recursive: true })
  }
}

/** Live processes of the whole machine whose command line holds the needle: a container that is gone cannot be asked. */
export function alive(needle: string): readonly string[] {
  return execFileSync('ps', ['-eo', 'pid,stat,args'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line) && !/vitest|ps -eo/.test(line))
}

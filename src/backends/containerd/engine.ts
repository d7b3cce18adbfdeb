/** What drover asks of containerd, typed; gRPC itself is loaded with the first call. */

import type { status } from '@grpc/grpc-js'
import * as z from 'zod'
import { taskStatus } from './protocol.ts'

/** A call that failed. `code` is gRPC's name for it, `message` what containerd said, or what kept it from being asked. */
export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly code: keyof typeof status
  constructor(code: keyof typeof status, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Without `ms` a call goes on until `signal` aborts. `lease`: what the call makes is kept from containerd's garbage collection. */
export type Limits = { readonly signal: AbortSignal; readonly ms?: number; readonly lease?: string }

export type EngineClient = {
  /** `Tasks.Start` and the like. Throws EngineError. */
  call<T>(method: string, request: object, answer: z.ZodType<T>, limits: Limits): Promise<T>
  /** All messages of a stream, or an EngineError. */
  all<T>(method: string, request: object, message: z.ZodType<T>, limits: Limits): Promise<readonly T[]>
}

const Document = z.object({ typeUrl: z.string(), value: z.instanceof(Uint8Array) })
export const Container = z.object({
  id: z.string(),
  labels: z.record(z.string(), z.string()),
  image: z.string(),
  spec: Document.nullable(),
  snapshotter: z.string().optional(),
})
export type Container = z.infer<typeof Container>
const Process = z.object({ id: z.string(), containerId: z.string(), pid: z.number(), status: z.number() })

const OneContainer = z.object({ container: Container })
const Nothing = z.object({})
const GotProcess = z.object({ process: Process })
const ListedTasks = z.object({ tasks: z.array(Process) })
const Started = z.object({ pid: z.number() })
const Waited = z.object({ exitStatus: z.number() })
const ListedPids = z.object({ processes: z.array(z.object({ pid: z.number(), info: Document.nullable() })) })
const Versions = z.object({ version: z.string(), revision: z.string() })
const Mounts = z.object({ mounts: z.array(z.unknown()) })
const Image = z.object({ name: z.string(), target: z.object({ mediaType: z.string(), digest: z.string() }) })
const OneImage = z.object({ image: Image })
const ListedImages = z.object({ images: z.array(Image) })
export type Image = z.infer<typeof Image>
const BlobPiece = z.object({ data: z.instanceof(Uint8Array) })
const Platform = z.object({ os: z.string(), architecture: z.string(), variant: z.string() })
export type Platform = z.infer<typeof Platform>
const ListedPlugins = z.object({
  plugins: z.array(z.object({ platforms: z.array(Platform), initErr: z.object({ message: z.string() }).nullable() })),
})
const ListedNamespaces = z.object({ namespaces: z.array(z.object({ name: z.string() })) })

/** The shim of runc, and of what stands in for it. */
const RUNTIME = 'io.containerd.runc.v2'
/** Deadlines of calls, in ms. */
const ms = { ask: 15_000, list: 30_000, start: 30_000 }
/** A manifest or a configuration; those of real images have some kilobytes. */
const MAX_BLOB_BYTES = 4 * 1024 * 1024

/** Where a process's streams go: paths of named pipes, or nothing. */
export type Streams = {
  readonly stdin: string
  readonly stdout: string
  readonly stderr: string
  readonly terminal: boolean
}
type Document = { readonly typeUrl: string; readonly value: Uint8Array }
export type NewContainerOf = {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
  readonly image: string
  readonly spec: Document
  readonly snapshotter: string
  readonly snapshotKey: string
}
/** An empty `execId` is the container's main process. */
type ExecId = { readonly containerId: string; readonly execId: string }
export type ProcessState = 'absent' | 'created' | 'running' | 'stopped'

export type Engine = ReturnType<typeof engineOf>

export function engineOf(address: string, namespace: string) {
  let loading: Promise<EngineClient> | undefined
  const client = () => {
    loading ??= import('./client.ts').then(({ engineClient }) => engineClient(address, namespace))
    return loading
  }
  const call = async <T>(method: string, request: object, answer: z.ZodType<T>, limits: Limits) =>
    (await client()).call(method, request, answer, limits)

  return {
    version: (signal: AbortSignal) => call('Version.Version', {}, Versions, { signal, ms: ms.ask }),
    namespaces: (signal: AbortSignal) => call('Namespaces.List', {}, ListedNamespaces, { signal, ms: ms.ask }),
    /** Alternatives; none: all. A stream, for a list in one message has no more than 16 MiB. */
    async containers(filters: readonly string[], signal: AbortSignal): Promise<readonly Container[]> {
      const found = await (await client()).all('Containers.ListStream', { filters }, OneContainer, { signal, ms: ms.list })
      return found.map(({ container }) => container)
    },
    async container(id: string, signal: AbortSignal): Promise<Container> {
      return (await call('Containers.Get', { id }, OneContainer, { signal, ms: ms.ask })).container
    },
    /** Whether the main process of this one runs now. */
    async isRunning(containerId: string, signal: AbortSignal): Promise<boolean> {
      try {
        const { process } = await call('Tasks.Get', { containerId, execId: '' }, GotProcess, { signal, ms: ms.ask })
        return process.status === taskStatus.running
      } catch (error) {
        if (error instanceof EngineError && error.code === 'NOT_FOUND') return false
        throw error
      }
    },
    /** Ids of the containers whose main process runs now. containerd asks the shim of each. */
    async running(signal: AbortSignal): Promise<ReadonlySet<string>> {
      const { tasks } = await call('Tasks.List', {}, ListedTasks, { signal, ms: ms.list })
      return new Set(tasks.filter(({ status }) => status === taskStatus.running).map(({ id, containerId }) => containerId || id))
    },
    exec: (request: ExecId & Streams & { readonly spec: Document }, signal: AbortSignal) =>
      call('Tasks.Exec', request, Nothing, { signal, ms: ms.ask }),
    start: (id: ExecId, signal: AbortSignal) => call('Tasks.Start', id, Started, { signal, ms: ms.start }),
    /** Settles at the end of the process, however far that is. */
    async wait(id: ExecId, signal: AbortSignal): Promise<number> {
      return (await call('Tasks.Wait', id, Waited, { signal })).exitStatus
    },
    async state(id: ExecId, signal: AbortSignal): Promise<ProcessState> {
      try {
        const { process } = await call('Tasks.Get', id, GotProcess, { signal, ms: ms.ask })
        if (process.status === taskStatus.created) return 'created'
        return process.status === taskStatus.stopped ? 'stopped' : 'running'
      } catch (error) {
        if (error instanceof EngineError && error.code === 'NOT_FOUND') return 'absent'
        throw error
      }
    },
    async mainPid(containerId: string, signal: AbortSignal): Promise<number> {
      const { process } = await call('Tasks.Get', { containerId, execId: '' }, GotProcess, { signal, ms: ms.ask })
      return process.pid
    },
    closeStdin: (id: ExecId, signal: AbortSignal) =>
      call('Tasks.CloseIO', { ...id, stdin: true }, Nothing, { signal, ms: ms.ask }),
    /** To every process of the container. */
    signalAll: (containerId: string, signum: number, signal: AbortSignal) =>
      call('Tasks.Kill', { containerId, execId: '', signal: signum, all: true }, Nothing, { signal, ms: ms.ask }),
    /** SIGKILL, to this one process. */
    end: (id: ExecId, signal: AbortSignal) =>
      call('Tasks.Kill', { ...id, signal: 9, all: false }, Nothing, { signal, ms: ms.ask }),
    /** Pids as the host counts them. `isExec`: what an exec started, not what that started in turn. */
    async pids(containerId: string, signal: AbortSignal) {
      const { processes } = await call('Tasks.ListPids', { containerId }, ListedPids, { signal, ms: ms.ask })
      return processes.map(({ pid, info }) => ({ pid, isExec: info !== null }))
    },
    /** Forgets an ended process. The shim waits up to 2 s for its output to be read. */
    forget: (id: ExecId, signal: AbortSignal) => call('Tasks.DeleteProcess', id, Nothing, { signal, ms: ms.ask }),

    // ---- images, and containers of them ------------------------------------------------------

    /** Undefined: there is none of this very name. */
    async image(name: string, signal: AbortSignal): Promise<Image | undefined> {
      try {
        return (await call('Images.Get', { name }, OneImage, { signal, ms: ms.ask })).image
      } catch (error) {
        if (error instanceof EngineError && error.code === 'NOT_FOUND') return undefined
        throw error
      }
    },
    async imagesOf(digest: string, signal: AbortSignal): Promise<readonly Image[]> {
      const filters = [`target.digest=="${digest}"`]
      return (await call('Images.List', { filters }, ListedImages, { signal, ms: ms.list })).images
    },
    /** A blob as text. */
    async blob(digest: string, signal: AbortSignal): Promise<string> {
      const pieces = await (await client()).all('Content.Read', { digest }, BlobPiece, { signal, ms: ms.ask })
      if (pieces.reduce((sum, { data }) => sum + data.byteLength, 0) > MAX_BLOB_BYTES)
        throw new EngineError('RESOURCE_EXHAUSTED', `${digest} is larger than 4 MiB`)
      const decoder = new TextDecoder()
      return pieces.map(({ data }) => decoder.decode(data, { stream: true })).join('')
    },
    /** The platforms that a snapshotter is for; undefined when there is none of this name that works. */
    async platforms(snapshotter: string, signal: AbortSignal): Promise<readonly Platform[] | undefined> {
      const filters = [`type==io.containerd.snapshotter.v1,id==${snapshotter}`]
      const { plugins } = await call('Introspection.Plugins', { filters }, ListedPlugins, { signal, ms: ms.ask })
      return plugins.find(({ initErr }) => initErr === null)?.platforms
    },
    /** Keeps what is made under it for `keepMs`, or until it is let go. */
    lease: (id: string, keepMs: number, signal: AbortSignal) => {
      const labels = { 'containerd.io/gc.expire': new Date(Date.now() + keepMs).toISOString() }
      return call('Leases.Create', { id, labels }, Nothing, { signal, ms: ms.ask })
    },
    endLease: (id: string, signal: AbortSignal) => call('Leases.Delete', { id }, Nothing, { signal, ms: ms.ask }),
    /** A root file system on top of a committed one. Returns how it is mounted, for `createTask`. */
    async prepare(
      snapshot: { readonly snapshotter: string; readonly key: string; readonly parent: string },
      lease: string,
      signal: AbortSignal,
    ): Promise<readonly unknown[]> {
      return (await call('Snapshots.Prepare', snapshot, Mounts, { signal, ms: ms.start, lease })).mounts
    },
    removeSnapshot: (snapshotter: string, key: string, signal: AbortSignal) =>
      call('Snapshots.Remove', { snapshotter, key }, Nothing, { signal, ms: ms.ask }),
    createContainer: (container: NewContainerOf, signal: AbortSignal) =>
      call('Containers.Create', { container: { ...container, runtime: { name: RUNTIME } } }, Nothing, { signal, ms: ms.ask }),
    removeContainer: (id: string, signal: AbortSignal) => call('Containers.Delete', { id }, Nothing, { signal, ms: ms.ask }),
    /** Its first process is there, and waits for its start. */
    createTask: (task: Streams & { readonly containerId: string; readonly rootfs: readonly unknown[] }, signal: AbortSignal) =>
      call('Tasks.Create', task, Started, { signal, ms: ms.start }),
    /** Throws FAILED_PRECONDITION while it runs. */
    removeTask: (id: string, signal: AbortSignal) => call('Tasks.Delete', { id }, Nothing, { signal, ms: ms.ask }),
  }
}

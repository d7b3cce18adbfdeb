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

/** Without `ms` a call goes on until `signal` aborts. */
export type Limits = { readonly signal: AbortSignal; readonly ms?: number }

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
const ListedNamespaces = z.object({ namespaces: z.array(z.object({ name: z.string() })) })

/** Deadlines of calls, in ms. */
const ms = { ask: 15_000, list: 30_000, start: 30_000 }

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
    /** Ids of the containers whose main process runs now. */
    async running(signal: AbortSignal): Promise<ReadonlySet<string>> {
      const { tasks } = await call('Tasks.List', {}, ListedTasks, { signal, ms: ms.list })
      return new Set(tasks.filter(({ status }) => status === taskStatus.running).map(({ id, containerId }) => containerId || id))
    },
    exec: (
      request: ExecId & {
        readonly stdin: string
        readonly stdout: string
        readonly stderr: string
        readonly terminal: boolean
        readonly spec: { readonly typeUrl: string; readonly value: Uint8Array }
      },
      signal: AbortSignal,
    ) => call('Tasks.Exec', request, Nothing, { signal, ms: ms.ask }),
    start: (id: ExecId, signal: AbortSignal) => call('Tasks.Start', id, Started, { signal, ms: ms.start }),
    /** Settles at the end of the process, however far that is. */
    async wait(id: ExecId, signal: AbortSignal): Promise<number> {
      return (await call('Tasks.Wait', id, Waited, { signal })).exitStatus
    },
    /** An empty `execId` is the container's main process. */
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
  }
}

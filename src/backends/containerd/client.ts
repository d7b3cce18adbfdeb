/** Calls to containerd over its socket. The only place where gRPC is loaded, and that only when the first call is made. */

import { Client, credentials, Metadata, type MethodDefinition, type ServiceError, status } from '@grpc/grpc-js'
import { fromJSON } from '@grpc/proto-loader'
import type * as z from 'zod'
import { criProtocol } from './cri-protocol.ts'
import { type EngineClient, EngineError, type Limits } from './engine.ts'
import { protocol } from './protocol.ts'

/** The specs of all containers of a large node stay far below. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024
const MAX_STREAMED = 20_000

export function engineClient(address: string, namespace: string): EngineClient {
  const channel = new Client(`unix:${address}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    // A call that may have arrived is never made again.
    'grpc.enable_retries': 0,
    // The default goes up to two minutes; the socket is on this machine.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  })
  const definitions = methodsOf()
  const metadata = new Metadata()
  metadata.set('containerd-namespace', namespace)
  const withLease = ({ lease }: Limits) => {
    if (lease === undefined) return metadata
    const own = metadata.clone()
    own.set('containerd-lease', lease)
    return own
  }
  const options = ({ ms }: Limits) => (ms === undefined ? {} : { deadline: Date.now() + ms })

  return {
    call(method, request, answer, limits) {
      const { path, requestSerialize, responseDeserialize } = definition(method)
      return new Promise((resolve, reject) => {
        if (limits.signal.aborted) return reject(new EngineError('CANCELLED', 'given up before it was sent'))
        const call = channel.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          request,
          withLease(limits),
          options(limits),
          (error, value) => {
            limits.signal.removeEventListener('abort', abort)
            if (error) return reject(engineError(error))
            return settle(() => checked(answer, value, method), resolve, reject)
          },
        )
        const abort = () => call.cancel()
        limits.signal.addEventListener('abort', abort, { once: true })
      })
    },
    async all(method, request, message, limits) {
      if (limits.signal.aborted) throw new EngineError('CANCELLED', 'given up before it was sent')
      const { path, requestSerialize, responseDeserialize } = definition(method)
      const stream = channel.makeServerStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        options(limits),
      )
      const abort = () => stream.cancel()
      limits.signal.addEventListener('abort', abort, { once: true })
      const found = []
      try {
        for await (const value of stream) {
          if (found.length >= MAX_STREAMED) throw new EngineError('RESOURCE_EXHAUSTED', `more than ${MAX_STREAMED} of them`)
          found.push(checked(message, value, method))
        }
      } catch (error) {
        throw error instanceof EngineError ? error : engineError(error as ServiceError)
      } finally {
        limits.signal.removeEventListener('abort', abort)
        stream.cancel()
      }
      return found
    },
  }

  function definition(method: string): MethodDefinition<object, object> {
    const found = definitions.get(method)
    if (found === undefined) throw new Error(`no method ${method}`)
    return found
  }
}

/** `Tasks.Exec` → how to call it. */
function methodsOf(): ReadonlyMap<string, MethodDefinition<object, object>> {
  const all = { nested: { ...protocol.nested, ...criProtocol.nested } }
  const loaded = fromJSON(all as Parameters<typeof fromJSON>[0], { defaults: true })
  return new Map(
    Object.entries(loaded).flatMap(([service, methods]) => {
      if ('format' in methods) return []
      const short = service.slice(service.lastIndexOf('.') + 1)
      return Object.entries(methods).map(([name, one]): [string, MethodDefinition<object, object>] => [`${short}.${name}`, one])
    }),
  )
}

function engineError(error: ServiceError): EngineError {
  const name = (Object.keys(status) as (keyof typeof status)[]).find((one) => status[one] === error.code)
  return new EngineError(name ?? 'UNKNOWN', error.details || error.message, { cause: error })
}

function checked<T>(schema: z.ZodType<T>, value: unknown, method: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new EngineError('DATA_LOSS', `the answer to ${method} is not containerd's (at ${result.error.issues[0]?.path.join('.')})`)
}

function settle<T>(work: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): void {
  try {
    resolve(work())
  } catch (error) {
    reject(error)
  }
}

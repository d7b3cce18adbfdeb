/** An engine of real containers: one for each that the pretend Rancher shows, through a Docker Engine's unix socket. */

import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type EngineContainer,
  isShell,
  neverStarted,
  type PeerEnd,
  type PeerEngine,
  type PeerProcess,
  startErrorText,
} from './engine.ts'

export type DockerEngineOptions = {
  /** `unix:///path`; default `DOCKER_HOST`, then Docker's own default. */
  readonly host?: string
  /** Must be on the engine already; default `DOCKER_TEST_IMAGE`, then `busybox`. */
  readonly image?: string
}

const API = '/v1.41'
const ANSWER_MS = 30_000
const MAX_ANSWER = 4 * 1024 * 1024
/** Marks what `close` may remove. */
const OWNER_LABEL = 'drover.playground'

/** Throws when the engine does not answer or lacks the image. `close` removes what it created; it may be called twice. */
export async function dockerEngine(options: DockerEngineOptions = {}): Promise<PeerEngine> {
  const host = options.host ?? process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock'
  const image = options.image ?? process.env.DOCKER_TEST_IMAGE ?? 'busybox'
  if (!host.startsWith('unix://')) throw new Error(`the playground reaches Docker through a unix socket only, not ${host}`)
  const api = createApi(host.slice('unix://'.length))
  const owner = `play-${process.pid}-${Date.now().toString(36)}`
  const ids = new Map<string, string>()
  let closed = false

  const found = await api.call('GET', `/images/${encodeURIComponent(image)}/json`)
  if (found.status !== 200) throw new Error(`Docker has no image ${image}: pull or build it first (${found.text.trim()})`)

  const create = async (container: EngineContainer): Promise<string> => {
    const answer = await api.call('POST', `/containers/create?name=${owner}-${container.name}`, {
      Image: image,
      Hostname: container.hostname,
      Cmd: ['sh', '-c', "trap 'exit 0' TERM; while :; do sleep 1; done"],
      Labels: { ...container.labels, [OWNER_LABEL]: owner },
      StopTimeout: 1,
    })
    if (answer.status !== 201) throw new Error(`Docker created no container for ${container.name}: ${answer.text.trim()}`)
    const id = String(answer.json().Id)
    ids.set(container.engineId, id)
    return id
  }

  return {
    exec(container, spec) {
      const id = ids.get(container.engineId)
      const [file = ''] = spec.argv
      if (id === undefined || (!container.shell && isShell(file))) return neverStarted(startErrorText(file))
      return start(api, id, spec)
    },
    async started(container) {
      const id = ids.get(container.engineId) ?? (await create(container))
      const answer = await api.call('POST', `/containers/${id}/start`)
      if (answer.status >= 400) throw new Error(`Docker did not start ${container.name}: ${answer.text.trim()}`)
    },
    async stopped(container, removed) {
      const id = ids.get(container.engineId)
      if (id === undefined) return
      await api.call('POST', `/containers/${id}/kill`)
      if (!removed) return
      ids.delete(container.engineId)
      await api.call('DELETE', `/containers/${id}?force=1&v=1`)
    },
    async close() {
      if (closed) return
      closed = true
      await Promise.all([...ids.values()].map((id) => api.call('DELETE', `/containers/${id}?force=1&v=1`)))
      ids.clear()
    },
  }
}

function start(api: DockerApi, id: string, spec: { argv: readonly string[]; tty: boolean; stdin: boolean }): PeerProcess {
  let output: (stream: 'stdout' | 'stderr', data: Uint8Array) => void = () => {}
  let connection: Duplex | undefined
  let exec = ''
  let isPaused = false
  let inputEnded = false
  const opened = (async (): Promise<Duplex | { startError: string }> => {
    const created = await api.call('POST', `/containers/${id}/exec`, {
      AttachStdin: spec.stdin,
      AttachStdout: true,
      AttachStderr: true,
      Tty: spec.tty,
      Cmd: spec.argv,
    })
    if (created.status !== 201) return { startError: `${created.text.trim()}\r\n` }
    exec = String(created.json().Id)
    return await api.hijack(`/exec/${exec}/start`, { Detach: false, Tty: spec.tty })
  })()

  const ended = (async (): Promise<PeerEnd> => {
    const stream = await opened
    if ('startError' in stream) return stream
    connection = stream
    if (isPaused) stream.pause()
    const feed = spec.tty
      ? (data: Uint8Array): void => output('stdout', data)
      : createDemultiplexer((name, data) => output(name, data))
    await new Promise<void>((resolve) => {
      stream.on('data', feed)
      stream.on('error', () => {})
      stream.on('end', resolve)
      stream.on('close', resolve)
      if (inputEnded || !spec.stdin) stream.end()
    })
    const answer = await api.call('GET', `/exec/${exec}/json`)
    const code = answer.status === 200 ? answer.json().ExitCode : undefined
    return { code: typeof code === 'number' ? code : 137 }
  })().catch((error: unknown) => ({ startError: `${String(error)}\r\n` }))

  return {
    onOutput(callback) {
      output = callback
    },
    async write(data) {
      const stream = await opened.catch(() => undefined)
      if (!stream || 'startError' in stream || !stream.writable) return
      await new Promise<void>((resolve) => {
        stream.write(data, () => resolve())
        stream.once('close', () => resolve())
      })
    },
    endInput() {
      inputEnded = true
      if (!spec.tty) connection?.end()
    },
    resize(columns, rows) {
      void opened.then(() => api.call('POST', `/exec/${exec}/resize?w=${columns}&h=${rows}`)).catch(() => {})
    },
    pause() {
      isPaused = true
      connection?.pause()
    },
    resume() {
      isPaused = false
      connection?.resume()
    },
    // Docker cannot end one exec; the container that holds it is killed right after.
    kill() {},
    ended,
  }
}

/** Docker's frames: stream, three zero bytes, big-endian length, payload; broken anywhere. */
function createDemultiplexer(take: (stream: 'stdout' | 'stderr', data: Uint8Array) => void): (data: Uint8Array) => void {
  let held = Buffer.alloc(0)
  return (data) => {
    held = Buffer.concat([held, data])
    while (held.length >= 8) {
      const length = held.readUInt32BE(4)
      if (held.length < 8 + length) return
      take(held[0] === 2 ? 'stderr' : 'stdout', Buffer.from(held.subarray(8, 8 + length)))
      held = held.subarray(8 + length)
    }
  }
}

type DockerAnswer = { readonly status: number; readonly text: string; json(): Record<string, unknown> }
type DockerApi = {
  call(method: string, path: string, body?: unknown): Promise<DockerAnswer>
  /** The raw connection under an answered upgrade, or why there is none. */
  hijack(path: string, body: unknown): Promise<Duplex | { startError: string }>
}

function createApi(socketPath: string): DockerApi {
  const open = (method: string, path: string, body: unknown, headers: Record<string, string>): ClientRequest => {
    const text = body === undefined ? '' : JSON.stringify(body)
    const sent = request({
      socketPath,
      method,
      path: `${API}${path}`,
      headers: { Host: 'docker', 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text), ...headers },
      timeout: ANSWER_MS,
    })
    sent.on('timeout', () => sent.destroy(new Error(`Docker did not answer ${method} ${path} within ${ANSWER_MS} ms`)))
    sent.end(text)
    return sent
  }
  return {
    async call(method, path, body) {
      const sent = open(method, path, body, {})
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        sent.once('response', resolve)
        sent.once('error', reject)
      })
      const text = await textOf(response)
      return { status: response.statusCode ?? 0, text, json: () => JSON.parse(text) as Record<string, unknown> }
    },
    hijack: (path, body) =>
      new Promise((resolve, reject) => {
        const sent = open('POST', path, body, { Connection: 'Upgrade', Upgrade: 'tcp' })
        sent.once('error', reject)
        sent.once('upgrade', (_response, socket, head) => {
          socket.setTimeout(0)
          if (head.length > 0) socket.unshift(head)
          resolve(socket)
        })
        sent.once('response', (response) => {
          textOf(response).then((text) => resolve({ startError: `${messageOf(text)}\r\n` }), reject)
        })
      }),
  }
}

function messageOf(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? text).trim()
  } catch {
    return text.trim()
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length
    if (size > MAX_ANSWER) throw new Error('Docker’s answer is too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

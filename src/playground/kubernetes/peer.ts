/** A pretend Kubernetes: API server, kubelet and runtime in one local HTTP server that refuses and answers as the real ones do. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { PeerEngine } from '../rancher/engine.ts'
import { simulatedEngine } from '../rancher/engine-simulated.ts'
import { createTraffic, type TrafficListener } from '../rancher/traffic.ts'
import { type Asked, defaultPeople, may, type Person, type PersonName, tokenFor } from './access.ts'
import { type Caller, createExecSocket, type ExecSeen } from './exec-socket.ts'
import { type Faults, noFaults, takeHttpFault } from './faults.ts'
import { type ApiRequest, accessRoutes, identify, isAnswer, podRoutes, type Route, versionRoute } from './http-api.ts'
import type { PodSpec } from './pods.ts'
import { type Answer, forbidden, statusAnswer } from './status.ts'
import { createWorld, type World } from './world.ts'

export type { Person, Rule } from './access.ts'
export type { ExecSeen } from './exec-socket.ts'
export type { Faults } from './faults.ts'
export type { ApiRequest, Route } from './http-api.ts'
export type { ContainerSpec, PeerPod, PodSpec } from './pods.ts'
export type { Answer } from './status.ts'
export type { World } from './world.ts'

export type KubernetesPeerOptions = {
  readonly port?: number
  readonly engine?: PeerEngine
  readonly pods?: readonly PodSpec[]
  /** Who may come; default: the five of the real cluster of the tests, with rights in the pods' namespaces. */
  readonly people?: readonly Person[]
  /** 1.x: before 30 there is no v5, from 35 on an exec needs `create` as well as `get`. Default 32. */
  readonly minor?: number
  /** More resources; asked before the own ones. */
  readonly routes?: (world: World, faults: Faults) => readonly Route[]
}

export type Seen = {
  readonly requests: { readonly method: string; readonly path: string; readonly status: number; readonly user: string }[]
  readonly execs: ExecSeen[]
  /** First lines of stdin. */
  readonly lines: string[]
  pings: number
  /** Stdin messages without a byte: what keeps a connection alive. */
  emptyMessages: number
  resizes: number
  openSockets(): number
}

export type KubernetesPeer = {
  readonly url: string
  readonly world: World
  readonly faults: Faults
  readonly seen: Seen
  minor: number
  token(name: PersonName): string
  on(event: 'traffic', listener: TrafficListener): () => void
  close(): Promise<void>
}

const MAX_BODY_BYTES = 4 * 1024 * 1024
/** A real one takes 1 MiB of request head; larger is 431 [R]. */
const MAX_HEAD_BYTES = 1024 * 1024

export async function startKubernetesPeer(options: KubernetesPeerOptions = {}): Promise<KubernetesPeer> {
  const engine = options.engine ?? simulatedEngine()
  const world = createWorld(engine)
  await world.add(options.pods ?? [])
  const namespaces = [...new Set(['default', ...world.pods().map((pod) => pod.namespace)])]
  const people = options.people ?? defaultPeople(namespaces)
  const faults = noFaults()
  let minor = options.minor ?? 32
  const seen: Seen = {
    requests: [],
    execs: [],
    lines: [],
    pings: 0,
    emptyMessages: 0,
    resizes: 0,
    openSockets: () => sockets.openSockets(),
  }
  const traffic = createTraffic()
  const sockets = createExecSocket({ world, engine, faults, minor: () => minor, seen, traffic })
  const routes: readonly Route[] = [
    ...(options.routes?.(world, faults) ?? []),
    versionRoute(() => minor),
    accessRoutes,
    podRoutes(world, faults),
  ]

  const callerOf = (person: Person): Caller => ({
    name: person.name,
    groups: person.groups ?? [],
    refused: (asked: Asked) => (may(person, asked) ? undefined : forbidden(person.name, asked)),
  })
  const note = (request: IncomingMessage, status: number, person: Person | Answer) =>
    void seen.requests.push({
      method: request.method ?? '',
      path: request.url ?? '',
      status,
      user: isAnswer(person) ? '' : person.name,
    })

  async function answerTo(
    request: IncomingMessage,
    url: URL,
    person: Person | Answer,
    body: () => Promise<string>,
  ): Promise<Answer> {
    if (faults.slowMs > 0) await new Promise((resolve) => setTimeout(resolve, faults.slowMs))
    const fault = takeHttpFault(faults, `${request.method} ${request.url}`)
    if (fault) return { status: fault.status, body: fault.body ?? '', ...(fault.headers ? { headers: fault.headers } : {}) }
    if (isAnswer(person)) return person
    if (sockets.owns(url)) return sockets.answer(url, callerOf(person))
    const asked: ApiRequest = {
      method: request.method ?? 'GET',
      path: url.pathname.split('/').filter(Boolean).map(decodeURIComponent),
      query: url.searchParams,
      contentType: (request.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '',
      body: await body(),
      person,
      refused: callerOf(person).refused,
    }
    for (const route of routes) {
      const answer = await route(asked)
      if (answer) return answer
    }
    return statusAnswer(404, 'NotFound', 'the server could not find the requested resource')
  }

  const server = createServer({ maxHeaderSize: MAX_HEAD_BYTES }, (request, response) => {
    const url = new URL(request.url ?? '/', 'http://peer')
    const person = identify(people, request)
    const at = Date.now()
    let sent = ''
    const body = async () => {
      sent = await bodyOf(request)
      return sent
    }
    answerTo(request, url, person, body).then(
      (answer) => {
        note(request, answer.status, person)
        const { method = '', url: path = '' } = request
        traffic.tell({ type: 'http', at, method, path, request: sent, status: answer.status, response: encoded(answer).text })
        send(response, answer)
      },
      () => response.destroy(),
    )
  })
  server.on('upgrade', (request, socket, head) => {
    const url = new URL(request.url ?? '/', 'http://peer')
    const person = identify(people, request)
    const fault = takeHttpFault(faults, `${request.method} ${request.url}`)
    const answer: Answer | undefined = fault
      ? { status: fault.status, body: fault.body ?? '', ...(fault.headers ? { headers: fault.headers } : {}) }
      : isAnswer(person)
        ? person
        : sockets.owns(url)
          ? sockets.upgrade(url, request, socket, head, callerOf(person))
          : statusAnswer(404, 'NotFound', 'the server could not find the requested resource')
    note(request, answer?.status ?? 101, person)
    if (!answer) return
    traffic.tell({ type: 'refused', path: url.pathname, status: answer.status, response: encoded(answer).text })
    socket.on('error', () => {}).end(rawAnswer(answer))
  })
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve))

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    world,
    faults,
    seen,
    get minor() {
      return minor
    },
    set minor(next) {
      minor = next
    },
    token: tokenFor,
    on: (_event, listener) => traffic.listen(listener),
    async close() {
      faults.stallStart = false
      sockets.close()
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await engine.close()
    },
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > MAX_BODY_BYTES) throw new Error('too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function encoded({ body, headers }: Answer): { readonly text: string; readonly headers: Record<string, string> } {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const type = body === '' ? {} : { 'Content-Type': typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json' }
  return { text, headers: { ...type, ...headers } }
}

function send(response: ServerResponse, answer: Answer): void {
  const { text, headers } = encoded(answer)
  response.writeHead(answer.status, { ...headers, 'Content-Length': Buffer.byteLength(text) }).end(text)
}

/** An ordinary response to an upgrade. */
function rawAnswer(answer: Answer): string {
  const { text, headers } = encoded(answer)
  const lines = Object.entries({ ...headers, 'Content-Length': String(Buffer.byteLength(text)), Connection: 'close' })
  return `HTTP/1.1 ${answer.status} Refused\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}`
}

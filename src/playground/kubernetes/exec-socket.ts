/** Exec over websockets as API server, kubelet and runtime do it together: v4 of all of them, v5 of the newer (kubernetes.md §1–§6). */

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import type { PeerEngine, PeerProcess } from '../rancher/engine.ts'
import type { TrafficLog } from '../rancher/traffic.ts'
import type { Asked } from './access.ts'
import { type Ask, askOf, internalError, noStream, statusOf, V1, V4, V5 } from './exec-words.ts'
import type { Faults } from './faults.ts'
import type { PeerContainer, PeerPod } from './pods.ts'
import { type Answer, badRequest, notFound, statusAnswer, textAnswer } from './status.ts'
import type { World } from './world.ts'

/** Largest piece of output in a message. */
const PIECE_BYTES = 32 * 1024
/** Bytes in flight to one client above which its process waits. */
const CLIENT_BUFFER = 256 * 1024

export type ExecSeen = {
  readonly user: string
  readonly groups: readonly string[]
  readonly namespace: string
  readonly pod: string
  readonly container: string
  readonly argv: readonly string[]
  readonly protocol: string
}

export type SocketSeen = {
  readonly execs: ExecSeen[] /** First lines of stdin. */
  readonly lines: string[]
  pings: number
  emptyMessages: number
  resizes: number
}

type Place = { readonly pod: PeerPod; readonly container: PeerContainer; readonly ask: Ask }

export type Caller = { readonly name: string; readonly groups: readonly string[]; refused(asked: Asked): Answer | undefined }

export function createExecSocket(options: {
  readonly world: World
  readonly engine: PeerEngine
  readonly faults: Faults
  readonly minor: () => number
  readonly seen: SocketSeen
  readonly traffic: TrafficLog
}) {
  const { world, engine, faults, seen, traffic } = options
  const isNew = () => options.minor() >= 30
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    handleProtocols: (offered) => faults.protocol ?? chosen(offered) ?? false,
  })
  const sockets = new Set<WebSocket>()

  function chosen(offered: ReadonlySet<string>): string | undefined {
    if (isNew() && offered.has(V5)) return V5
    return [V4, V1].find((one) => offered.has(one))
  }

  /** All that is looked at before the upgrade, in the API server's order; what is wrong is the answer. */
  function look(url: URL, caller: Caller): Place | Answer {
    const [, namespace = '', name = ''] = EXEC_PATH.exec(url.pathname) ?? []
    const ask = askOf(url.search)
    for (const verb of options.minor() >= 35 ? ['get', 'create'] : ['get']) {
      const no = caller.refused({ verb, group: '', resource: 'pods/exec', name, namespace })
      if (no) return no
    }
    const pod = world.find(namespace, name)
    if (pod === undefined) return notFound('pods', name)
    const regular = pod.containers.filter(({ kind }) => kind === undefined)
    const wanted = ask.container ?? (regular.length === 1 ? regular[0]?.name : undefined)
    if (wanted === undefined)
      return badRequest(
        `a container name must be specified for pod ${name}, choose one of: [${regular.map((one) => one.name).join(' ')}]`,
      )
    const container = pod.containers.find((one) => one.name === wanted)
    if (container === undefined) return badRequest(`container ${wanted} is not valid for pod ${name}`)
    if (pod.node === undefined) return badRequest(`pod ${name} does not have a host assigned`)
    return { pod, container, ask }
  }

  async function serve(ws: WebSocket, protocol: string, { pod, container, ask }: Place, caller: Caller): Promise<void> {
    const socket = traffic.nextSocket()
    const path = `/api/v1/namespaces/${pod.namespace}/pods/${pod.name}/exec`
    traffic.tell({ type: 'open', socket, path, argv: ask.argv })
    const send = (channel: number, data: Uint8Array | string) => {
      if (ws.readyState !== ws.OPEN) return
      const message = Buffer.concat([Buffer.from([channel]), Buffer.from(data)])
      ws.send(message, { binary: true })
      traffic.tell({ type: 'message', socket, from: 'host', base64: false, data: message })
    }
    let isEndedHere = false
    const tell = (status: unknown) => {
      if (protocol !== V1 && protocol !== '') send(3, JSON.stringify(status))
      isEndedHere = true
      ws.close(1000)
    }
    ws.on('close', (code) => traffic.tell({ type: 'closed', socket, by: isEndedHere ? 'host' : 'client', code }))
    send(ask.stdout ? 1 : ask.stderr ? 2 : 3, '')
    // The API server has said yes by now: what the kubelet says comes in-band.
    if (isNew() && !runs(container))
      return tell(internalError(`unable to upgrade connection: container not found ("${container.name}")`))
    if (isNew() && noStream(ask)) return tell(internalError('you must specify at least 1 of stdin, stdout, stderr'))

    const inputs: Buffer[] = []
    let process: PeerProcess | undefined
    let isClientGone = false
    let resizes = 0
    let isFirst = true
    const take = (message: Buffer): void => {
      const [channel] = message
      const data = message.subarray(1)
      if (message.length <= 1 && channel === 0) seen.emptyMessages += 1
      // Two of them without a terminal stall the reader of v5 for good [R5].
      if (resizes >= 2 && !ask.tty && protocol === V5) return
      if (channel === 4) {
        seen.resizes += 1
        resizes += 1
      }
      if (channel === 255) {
        if (protocol !== V5) return
        if (data.length === 1 && data[0] === 0) {
          process?.endInput()
          inputs.push(Buffer.alloc(0))
        } else ws.terminate()
      } else if (channel === 0 && data.length > 0 && ask.stdin) {
        if (isFirst) seen.lines.push(data.toString('latin1').split('\n')[0] ?? '')
        isFirst = false
        if (process) void process.write(data)
        else inputs.push(data)
      }
    }
    ws.on('message', (data) => {
      const message = asBuffer(data)
      traffic.tell({ type: 'message', socket, from: 'client', base64: false, data: message })
      take(message)
    })
    ws.on('ping', () => {
      seen.pings += 1
    })
    ws.on('error', () => {})
    ws.on('close', () => {
      // The process lives on: only its stdin learns of it [R].
      isClientGone = true
      process?.resume()
      process?.endInput()
    })
    if (faults.deaf) ws.pause()

    seen.execs.push({
      user: caller.name,
      groups: caller.groups,
      namespace: pod.namespace,
      pod: pod.name,
      container: container.name,
      argv: ask.argv,
      protocol,
    })
    while (faults.stallStart) await new Promise((resolve) => setTimeout(resolve, 10))
    process = engine.exec(container.engine, { argv: ask.argv, tty: ask.tty, stdin: ask.stdin })
    const started = process
    let bytes = 0
    let isLost = false
    started.onOutput((stream, data) => {
      if (isClientGone || isLost) return
      const isWanted = stream === 'stdout' ? ask.stdout : ask.stderr && !ask.tty
      if (!isWanted) return
      const whole = Math.min(data.byteLength, room(bytes))
      for (let at = 0; at < whole; at += PIECE_BYTES)
        send(stream === 'stdout' ? 1 : 2, data.subarray(at, Math.min(at + PIECE_BYTES, whole)))
      bytes += whole
      isLost = whole < data.byteLength
      if (isLost) {
        isEndedHere = true
        interfere(ws, tell)
      }
      if (ws.bufferedAmount > CLIENT_BUFFER) {
        started.pause()
        resumeWhenDrained(ws, started)
      }
    })
    for (const data of inputs.splice(0)) {
      if (data.length === 0) started.endInput()
      else void started.write(data)
    }
    if (isClientGone) started.endInput()
    const end = await started.ended
    if (!isLost) tell(statusOf(end, protocol, ask.argv))
  }

  /** How much more output goes before something goes wrong. */
  function room(bytes: number): number {
    const { dropAfterBytes, closeAfterBytes, loseKubeletAfterBytes, loseContainerAfterBytes } = faults
    const limits = [dropAfterBytes, closeAfterBytes, loseKubeletAfterBytes, loseContainerAfterBytes].filter(
      (one) => one !== undefined,
    )
    return Math.max(0, Math.min(Number.POSITIVE_INFINITY, ...limits) - bytes)
  }

  function interfere(ws: WebSocket, tell: (status: unknown) => void): void {
    if (faults.dropAfterBytes !== undefined) ws.terminate()
    else if (faults.closeAfterBytes !== undefined) ws.close(1000)
    else if (faults.loseContainerAfterBytes !== undefined)
      tell(
        internalError('error executing command in container: failed to exec in container: no running task found: task not found'),
      )
    // The translator of v5 takes the end of a lost stream for the end of the command; v4 is the runtime's own stream (seen on a real kubelet).
    else if (ws.protocol === V5) tell({ metadata: {}, status: 'Success' })
    else ws.terminate()
  }

  return {
    owns: (url: URL) => EXEC_PATH.test(url.pathname),
    /** A request without an upgrade: everything is looked at, and nothing runs. */
    answer(url: URL, caller: Caller): Answer {
      const place = look(url, caller)
      return 'status' in place ? place : badRequest('Upgrade request required')
    },
    upgrade(url: URL, request: IncomingMessage, socket: Duplex, head: Buffer, caller: Caller): Answer | undefined {
      if (request.method !== 'GET')
        return statusAnswer(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')
      const place = look(url, caller)
      if ('status' in place) return place
      if (!isNew() && noStream(place.ask)) return textAnswer(400, 'you must specify at least 1 of stdin, stdout, stderr')
      const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim())
      const protocol = chosen(new Set(offered))
      if (protocol === undefined && offered.some((one) => one !== '')) return { status: 403, body: '' }
      if (!isNew() && !runs(place.container)) return textAnswer(500, `container not found ("${place.container.name}")`)
      server.handleUpgrade(request, socket, head, (ws) => {
        sockets.add(ws)
        ws.once('close', () => sockets.delete(ws))
        void serve(ws, protocol ?? '', place, caller)
      })
      return undefined
    },
    openSockets: () => sockets.size,
    close() {
      for (const ws of sockets) ws.terminate()
      server.close()
    },
  }
}

export const EXEC_PATH = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/exec$/

function resumeWhenDrained(ws: WebSocket, process: PeerProcess): void {
  const timer = setInterval(() => {
    if (ws.readyState === ws.OPEN && ws.bufferedAmount > CLIENT_BUFFER / 2) return
    clearInterval(timer)
    process.resume()
  }, 5)
}

function runs({ state }: PeerContainer): boolean {
  return state === 'running'
}

function asBuffer(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data)
  return Buffer.isBuffer(data) ? data : Buffer.from(data)
}

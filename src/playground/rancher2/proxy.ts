/** The way from a pretend Rancher 2 to a cluster: a plain reverse proxy that takes the caller's key away and speaks for its user instead. */

import * as http from 'node:http'
import * as https from 'node:https'
import type { Duplex } from 'node:stream'
import { agentDown, bytesOf, type PeerAnswer } from './errors.ts'
import type { PeerKey } from './keys.ts'

/** Any Kubernetes API server. */
export type Upstream = {
  /** May go on with a path. */
  readonly url: string
  /** Its owner may impersonate, as Rancher's service account may. */
  readonly token?: string
  /** PEM of its CA. */
  readonly ca?: string
  /** False: its owner may not, and speaks for itself. */
  readonly impersonate?: false
}

export type ProxyFaults = {
  /** After this many bytes of an open exec both ends lose the connection, as when the agent goes away. */
  breakAfterBytes: number | undefined
}

/** Hop-by-hop, and what is the caller's own business with Rancher (RR pkg/clusterrouter/proxy/proxy_server.go). */
const NOT_PASSED = new Set(['authorization', 'cookie', 'host', 'connection', 'upgrade', 'impersonate-user', 'impersonate-group'])

export function passedHeaders(headers: http.IncomingHttpHeaders, key: PeerKey, upstream: Upstream): http.OutgoingHttpHeaders {
  const passed: http.OutgoingHttpHeaders = {}
  for (const [name, value] of Object.entries(headers))
    if (!NOT_PASSED.has(name) && !name.startsWith('impersonate-extra-')) passed[name] = value
  const token = key.upstreamToken ?? upstream.token
  return {
    ...passed,
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(upstream.impersonate === false
      ? {}
      : {
          'impersonate-user': key.user,
          'impersonate-group': [...(key.groups ?? []), 'system:authenticated', 'system:cattle:authenticated'],
        }),
  }
}

export function createProxy(faults: ProxyFaults) {
  const open = new Set<Duplex>()

  const outgoing = (upstream: Upstream, path: string, method: string, headers: http.OutgoingHttpHeaders): http.ClientRequest => {
    const url = new URL(`${upstream.url.replace(/\/$/, '')}${path}`)
    const options = { method, headers, agent: false, ...(upstream.ca === undefined ? {} : { ca: upstream.ca }) } as const
    return (url.protocol === 'https:' ? https : http).request(url, options)
  }

  return {
    openSockets: () => open.size,

    plain(
      request: http.IncomingMessage,
      response: http.ServerResponse,
      way: { readonly upstream: Upstream; readonly path: string; readonly key: PeerKey; readonly cluster: string },
    ): Promise<number> {
      const out = outgoing(way.upstream, way.path, request.method ?? 'GET', passedHeaders(request.headers, way.key, way.upstream))
      const { promise, resolve } = Promise.withResolvers<number>()
      out.on('response', (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
        resolve(answer.statusCode ?? 502)
      })
      out.on('error', () => {
        const down = agentDown(way.cluster, false)
        if (response.headersSent) response.destroy()
        else response.writeHead(down.status, bytesOf(down).headers).end(bytesOf(down).body)
        resolve(down.status)
      })
      response.on('close', () => out.destroy())
      request.pipe(out)
      return promise
    },

    upgrade(
      request: http.IncomingMessage,
      socket: Duplex,
      head: Buffer,
      way: { readonly upstream: Upstream; readonly path: string; readonly key: PeerKey; readonly cluster: string },
    ): void {
      const headers = {
        ...passedHeaders(request.headers, way.key, way.upstream),
        connection: 'Upgrade',
        upgrade: request.headers.upgrade ?? 'websocket',
      }
      const out = outgoing(way.upstream, way.path, request.method ?? 'GET', headers)
      socket.on('error', () => out.destroy())
      socket.on('close', () => out.destroy())
      out.on('error', () => refuse(socket, agentDown(way.cluster, true)))
      out.on('response', (answer) => {
        const parts: Buffer[] = []
        answer.on('data', (part: Buffer) => parts.push(part))
        answer.on('end', () => {
          const type = answer.headers['content-type']
          refuse(socket, {
            status: answer.statusCode ?? 502,
            ...(type === undefined ? {} : { headers: { 'Content-Type': type } }),
            body: Buffer.concat(parts).toString(),
          })
        })
      })
      out.on('upgrade', (answer, inner, innerHead) => {
        const lines = answer.rawHeaders.flatMap((name, i, all) => (i % 2 === 0 ? [`${name}: ${all[i + 1]}`] : []))
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
        if (innerHead.length > 0) inner.unshift(innerHead)
        if (head.length > 0) socket.unshift(head)
        open.add(socket)
        let bytes = 0
        inner.on('data', (data: Buffer) => {
          bytes += data.length
          if (faults.breakAfterBytes === undefined || bytes <= faults.breakAfterBytes) return
          inner.destroy()
          socket.destroy()
        })
        inner.on('error', () => socket.destroy())
        inner.on('close', () => socket.destroy())
        socket.on('close', () => {
          open.delete(socket)
          inner.destroy()
        })
        inner.pipe(socket)
        socket.pipe(inner)
      })
      out.end()
    },

    /** Ends what runs through the tunnel, without a word. */
    cut(): void {
      for (const socket of open) socket.destroy()
    },
  }
}

/** An ordinary answer where a websocket was asked for. */
export function refuse(socket: Duplex, answer: PeerAnswer): void {
  if (socket.destroyed) return
  const { headers, body } = bytesOf(answer)
  const lines = Object.entries({ ...headers, Connection: 'close' }).map(([name, value]) => `${name}: ${value}`)
  socket.end(
    Buffer.concat([
      Buffer.from(`HTTP/1.1 ${answer.status} ${http.STATUS_CODES[answer.status] ?? ''}\r\n${lines.join('\r\n')}\r\n\r\n`),
      body,
    ]),
  )
}

/** The pretend Rancher 2 itself: who is let in where, in which shape it refuses, and what goes on to a cluster (rancher-2.md §2, §4, §5). */

import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { bearerOf, type Rancher2Peer, type Rancher2PeerOptions, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'

const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

/** Any API server: it tells what reached it, and echoes what comes by websocket. */
let upstream: { readonly url: string; readonly seen: IncomingMessage[] }
beforeEach(async () => {
  const seen: IncomingMessage[] = []
  const server = createServer((request, response) => {
    seen.push(request)
    if (request.url === '/api/refused')
      return response.writeHead(403, { 'Content-Type': 'application/json' }).end('{"kind":"Status"}')
    let body = ''
    request.on('data', (part: Buffer) => {
      body += part.toString()
    })
    request.on('end', () => response.setHeader('X-Upstream', 'yes').end(`${request.method} ${request.url} ${body}`))
  })
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'v5.channel.k8s.io' })
  server.on('upgrade', (request, socket, head) => {
    seen.push(request)
    if (request.url?.includes('refused'))
      return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{"kind":"Status"}')
    sockets.handleUpgrade(request, socket, head, (ws) => ws.on('message', (data, binary) => ws.send(data, { binary })))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  open.push(async () => {
    for (const one of sockets.clients) one.terminate()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  upstream = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
})

async function peerWith(options: Partial<Rancher2PeerOptions> = {}): Promise<Rancher2Peer> {
  const peer = await startRancher2Peer({ upstream: { url: upstream.url, token: 'cluster-token' }, ...options })
  open.push(() => peer.close())
  return peer
}

const asAdmin = (peer: Rancher2Peer) => ({ authorization: `Bearer ${bearerOf(peer.keys.admin)}`, accept: 'application/json' })

async function get(peer: Rancher2Peer, path: string, headers: Record<string, string> = asAdmin(peer), init: RequestInit = {}) {
  const response = await fetch(`${peer.url}${path}`, { headers, ...init })
  const text = await response.text()
  return {
    status: response.status,
    text,
    type: response.headers.get('content-type'),
    json: /^\{/.test(text) ? JSON.parse(text) : undefined,
  }
}

async function socket(peer: Rancher2Peer, path: string, headers: Record<string, string> = asAdmin(peer)) {
  const ws = new WebSocket(`${peer.url.replace('http', 'ws')}${path}`, ['v5.channel.k8s.io', 'v4.channel.k8s.io'], { headers })
  return new Promise<{ status: number; body: string; ws: WebSocket }>((resolve) => {
    ws.once('open', () => resolve({ status: 101, body: '', ws }))
    ws.once('unexpected-response', (_, response) => {
      let body = ''
      response.on('data', (part: Buffer) => {
        body += part.toString()
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, ws }))
    })
    ws.on('error', () => {})
  })
}
const EXEC = '/k8s/clusters/c-abc12/api/v1/namespaces/shop/pods/web-1/exec?container=app&command=a%20b&command=%3B'

describe('the way to a cluster', () => {
  it('takes the key away, speaks for its user, and changes nothing else', async () => {
    const peer = await peerWith()
    const headers = {
      ...asAdmin(peer),
      cookie: 'R_SESS=x',
      'impersonate-user': 'root',
      'content-type': 'application/json',
      'x-own': 'kept',
    }
    const answer = await get(peer, '/k8s/clusters/c-abc12/apis/x?a=1%2F2', headers, { method: 'POST', body: '{"b":1}' })
    expect(answer.text).toBe('POST /apis/x?a=1%2F2 {"b":1}')
    expect(upstream.seen[0]?.headers).toMatchObject({
      authorization: 'Bearer cluster-token',
      'impersonate-user': 'u-admin',
      'impersonate-group': 'system:authenticated, system:cattle:authenticated',
      'x-own': 'kept',
    })
    expect(upstream.seen[0]?.headers.cookie).toBeUndefined()
    expect(JSON.stringify(upstream.seen[0]?.headers)).not.toContain(peer.keys.admin.secret)
  })

  it('carries a websocket both ways, with its subprotocol and its query, and what the cluster refuses', async () => {
    const peer = await peerWith()
    const { ws, status } = await socket(peer, EXEC)
    expect([status, ws.protocol, upstream.seen[0]?.url]).toEqual([
      101,
      'v5.channel.k8s.io',
      EXEC.replace('/k8s/clusters/c-abc12', ''),
    ])
    expect(upstream.seen[0]?.headers['impersonate-user']).toBe('u-admin')
    const echoed = new Promise((resolve) => ws.once('message', (data: Buffer) => resolve([...data])))
    ws.send(new Uint8Array([0, 1, 255]))
    expect(await echoed).toEqual([0, 1, 255])
    expect(peer.seen.openSockets()).toBe(1)
    ws.close()
    await expect.poll(() => peer.seen.openSockets()).toBe(0)
    expect(await socket(peer, '/k8s/clusters/c-abc12/refused')).toMatchObject({ status: 403, body: '{"kind":"Status"}' })
  })

  it('is gone with its agent: 500 as text for a question, 502 with nothing for an upgrade', async () => {
    const peer = await peerWith()
    peer.faults.agentDown.add('c-abc12')
    expect(await get(peer, '/k8s/clusters/c-abc12/version')).toMatchObject({
      status: 500,
      type: 'text/plain; charset=utf-8',
      text: expect.stringContaining('dial'),
    })
    expect(await socket(peer, EXEC)).toMatchObject({ status: 502, body: '' })
    const nobody = await peerWith({ upstream: { url: 'http://127.0.0.1:9' } })
    expect((await get(nobody, '/k8s/clusters/c-abc12/version')).status).toBe(500)
    expect(await socket(nobody, EXEC)).toMatchObject({ status: 502, body: '' })
  })

  it('to a cluster that is unknown, foreign or not ready is refused with capital keys, said to be text', async () => {
    const peer = await peerWith()
    peer.clusters.push({ id: 'c-wait1', name: 'wait', state: 'provisioning' }, { id: 'c-else1', name: 'else', state: 'active' })
    const path = (id: string) => `/k8s/clusters/${id}/version`
    const code = (name: string, status: number) => ({ Code: { Code: name, Status: status }, Cause: null, FieldName: '' })
    const unknown = await get(peer, path('c-none1'))
    expect([unknown.status, unknown.type, unknown.json]).toMatchObject([404, 'text/plain; charset=utf-8', code('NotFound', 404)])
    expect((await get(peer, path('c-wait1'))).json).toMatchObject(code('ClusterUnavailable', 503))
    const member = { authorization: `Bearer ${bearerOf(peer.keys.member)}` }
    expect((await get(peer, path('c-else1'), member)).json).toMatchObject(code('PermissionDenied', 403))
  })

  it('without pod-shell has no exec, and the rest', async () => {
    const peer = await peerWith()
    peer.faults.podShellOff = true
    expect(await socket(peer, EXEC)).toMatchObject({
      status: 403,
      body: expect.stringContaining('pod-shell feature is disabled'),
    })
    expect((await get(peer, EXEC)).json).toMatchObject({ status: '403', message: 'pod-shell feature is disabled' })
    expect((await get(peer, '/k8s/clusters/c-abc12/version')).status).toBe(200)
  })

  it('is cut after as many bytes as a test says', async () => {
    const peer = await peerWith()
    const { ws } = await socket(peer, EXEC)
    peer.faults.breakAfterBytes = 100
    const closed = new Promise((resolve) => ws.once('close', resolve))
    ws.send(new Uint8Array(500))
    expect(await closed).toBe(1006)
  })
})

describe('who is let in', () => {
  it('a Bearer, a Basic and a cookie are the same; anything else is 401 with a status that is a string', async () => {
    const peer = await peerWith()
    const key = bearerOf(peer.keys.admin)
    const ways = [{ authorization: `Bearer ${key}` }, { authorization: `Basic ${btoa(key)}` }, { cookie: `R_SESS=${key}` }]
    for (const headers of ways) expect((await get(peer, '/v3/clusters', headers)).status).toBe(200)
    for (const headers of [{}, { authorization: `Bearer ${key}x` }, { authorization: `Bearer ${key}:more` }])
      expect(await get(peer, '/v3/clusters', headers as Record<string, string>)).toMatchObject({
        status: 401,
        json: { type: 'error', status: '401', message: 'Unauthorized 401: must authenticate' },
      })
    const token = { 'sec-websocket-protocol': `base64url.bearer.authorization.k8s.io.${btoa(key)}` }
    expect((await get(peer, EXEC, token)).status).toBe(401)
    peer.revoke(peer.keys.admin)
    expect((await get(peer, '/v3/clusters')).status).toBe(401)
  })

  it.each([
    ['v2.15.0', 'Unauthorized 401: must authenticate'],
    ['v2.4.18', 'clusterID does not match'],
  ])('a cluster’s own key (%s) is good only where the path names its cluster', async (release, message) => {
    const peer = await peerWith({ release })
    const headers = { authorization: `Bearer ${bearerOf(peer.keys.scoped)}` }
    for (const path of ['/v3/clusters/c-abc12', '/v3/cluster/c-abc12/namespaces', '/k8s/clusters/c-abc12/version'])
      expect((await get(peer, path, headers)).status).toBe(200)
    for (const path of ['/v3/clusters', '/v3/projects', '/v3/project/c-abc12:p-def34/workloads', '/k8s/clusters/local/version'])
      expect((await get(peer, path, headers)).json).toMatchObject({ status: '401', message })
  })

  it('an Origin of another host: 403 before 2.15, from then on only for browsers', async () => {
    const strange = { origin: 'https://evil.test' }
    const old = await peerWith({ release: 'v2.8.15' })
    expect(await socket(old, EXEC, { ...asAdmin(old), ...strange })).toMatchObject({ status: 403, body: 'origin not allowed\n' })
    expect((await socket(old, EXEC, { ...asAdmin(old), origin: old.url })).status).toBe(101)
    const now = await peerWith()
    expect((await socket(now, EXEC, { ...asAdmin(now), ...strange })).status).toBe(101)
    expect((await socket(now, EXEC, { ...asAdmin(now), ...strange, 'user-agent': 'Mozilla/5.0' })).status).toBe(403)
  })

  it('without login: the CA and, from 2.8 on, the version', async () => {
    const peer = await peerWith()
    expect((await get(peer, '/v3/settings/cacerts', {})).json).toMatchObject({ value: '' })
    expect((await get(peer, '/rancherversion', {})).json).toMatchObject({ Version: 'v2.15.0' })
    const old = await peerWith({ release: 'v2.6.14' })
    expect((await get(old, '/rancherversion')).status).toBe(404)
    expect((await get(old, '/v3/settings/server-version')).json).toMatchObject({ value: 'v2.6.14' })
  })

  it('a browser’s name gets a page', async () => {
    const peer = await peerWith()
    const headers = { authorization: asAdmin(peer).authorization, accept: '*/*', 'user-agent': 'Mozilla/5.0' }
    expect((await get(peer, '/v3/clusters', headers)).type).toBe('text/html')
  })
})

describe('lists', () => {
  it('page by marker and limit, filter by whole value and suffix, and ignore what they do not know', async () => {
    const peer = await peerWith()
    for (const n of [1, 2, 3, 4]) peer.clusters.push({ id: `c-more${n}`, name: `more${n}`, state: 'active' })
    const ids = async (query: string) => (await get(peer, `/v3/clusters?${query}`)).json.data.map(({ id }: { id: string }) => id)
    const first = (await get(peer, '/v3/clusters?limit=2')).json
    expect(first).toMatchObject({
      type: 'collection',
      resourceType: 'cluster',
      pagination: { limit: 2, total: 5, partial: true },
    })
    expect(first.pagination.next).toContain('marker=c-more2')
    expect((await get(peer, first.pagination.next.slice(peer.url.length))).json.data.map(({ id }: { id: string }) => id)).toEqual(
      ['c-more2', 'c-more3'],
    )
    expect(await ids('name=more1')).toEqual(['c-more1'])
    expect(await ids('name_ne=more1')).toHaveLength(4)
    expect(await ids('name_in=more1,more2')).toEqual(['c-more1', 'c-more2'])
    expect(await ids('nonsense=x')).toHaveLength(5)
  })

  it('a member sees the own projects, their namespaces and oneself; an unknown thing is 404 with a code', async () => {
    const peer = await peerWith({
      projects: [
        { id: 'c-abc12:p-def34', name: 'Shop', namespaces: ['shop'] },
        { id: 'c-else1:p-other', name: 'Other', namespaces: ['other'] },
      ],
    })
    const headers = { authorization: `Bearer ${bearerOf(peer.keys.member)}` }
    const ids = async (path: string) => (await get(peer, path, headers)).json.data.map(({ id }: { id: string }) => id)
    expect(await ids('/v3/projects')).toEqual(['c-abc12:p-def34'])
    expect(await ids('/v3/cluster/c-abc12/namespaces')).toEqual(['shop'])
    expect(await ids('/v3/users')).toEqual(['u-member'])
    expect((await get(peer, '/v3/projects/c-else1:p-other', headers)).json).toMatchObject({
      status: 404,
      code: 'NotFound',
      baseType: 'error',
    })
    expect((await get(peer, `/v3/tokens/${peer.keys.member.name}`, headers)).json.expiresAt).toMatch(/Z$/)
  })
})

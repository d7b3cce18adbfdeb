/** The HTTP API of the pretend Rancher: who may look where, and what was recorded of a real one. */

import { afterEach, describe, expect, test } from 'vitest'
import { type RancherPeer, type RancherPeerOptions, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { call, execute, type Json } from './rancher-client.ts'

const open: RancherPeer[] = []
afterEach(async () => {
  for (const peer of open.splice(0)) await peer.close()
})

async function start(options: RancherPeerOptions = {}): Promise<RancherPeer> {
  const peer = await startRancherPeer(options)
  open.push(peer)
  return peer
}

const names = (body: Json): string[] => body.data.map((one: Json) => one.name)

describe('who may look where', () => {
  test('no key, a wrong key and an inactive key are 401 with a challenge, unless none is wanted', async () => {
    const peer = await start()
    for (const key of [null, { accessKey: 'x', secretKey: 'y' }, peer.inactiveKey]) {
      const answer = await call(peer, '/v2-beta/containers', { key })
      expect(answer.status).toBe(401)
      expect(answer.headers.get('www-authenticate')).toBe(
        'Basic realm="Enter API access key and secret key as username and password"',
      )
      expect(answer.body).toMatchObject({
        type: 'error',
        status: 401,
        code: 'Unauthorized',
        message: 'Unauthorized',
        baseType: 'error',
      })
      expect(answer.body).not.toHaveProperty('fieldName')
    }
    const quiet = await call(peer, '/v2-beta/containers', { key: null, headers: { 'X-API-No-Challenge': 'true' } })
    expect(quiet.headers.get('www-authenticate')).toBe(null)
  })

  test('an environment key needs to name no environment; an account key sees an empty list until it does', async () => {
    const peer = await start()
    const own = await call(peer, '/v2-beta/containers')
    const named = await call(peer, '/v2-beta/projects/1a5/containers')
    expect(names(own.body)).toContain('shop-web-1')
    expect(names(named.body)).toEqual(names(own.body))
    expect(names((await call(peer, '/v2-beta/containers', { key: peer.accountKey })).body)).toEqual([])
    for (const [path, headers] of [
      ['/v2-beta/projects/1a5/containers', {}],
      ['/v2-beta/containers', { 'X-API-Project-Id': '1a5' }],
      ['/v2-beta/containers?projectId=1a5', {}],
    ] as const) {
      const answer = await call(peer, path, { key: peer.accountKey, headers: headers as Record<string, string> })
      expect(names(answer.body)).toEqual(names(own.body))
    }
    expect(names((await call(peer, '/v2-beta/projects/1a7/containers', { key: peer.accountKey })).body)).toEqual([
      'billing-web-1',
    ])
  })

  test('no access to an environment and no such environment are the same 403; a container of another one is 404', async () => {
    const peer = await start()
    expect((await call(peer, '/v2-beta/projects/1a7/containers')).status).toBe(403)
    expect((await call(peer, '/v2-beta/projects/1a99/containers')).status).toBe(403)
    const other = peer.containers.get('billing-web-1').id
    const answer = await call(peer, `/v2-beta/containers/${other}`)
    expect([answer.status, answer.body.code, answer.body.message]).toEqual([404, 'Not Found', 'Not Found'])
  })

  test('URLs keep the project only when the path had it, and follow the forwarded scheme and host', async () => {
    const peer = await start()
    const { id } = peer.containers.get('shop-web-1')
    const scoped = await call(peer, `/v2-beta/projects/1a5/containers/${id}`)
    expect(scoped.body.actions.execute).toBe(`${peer.url}/v2-beta/projects/1a5/containers/${id}/?action=execute`)
    const plain = await call(peer, `/v1/containers/${id}`, {
      headers: { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'rancher.example.com' },
    })
    expect(plain.body.actions.execute).toBe(`https://rancher.example.com/v1/containers/${id}/?action=execute`)
    const access = await call(peer, `/v2-beta/projects/1a5/containers/${id}/?action=execute`, {
      body: { command: ['true'] },
      headers: { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'rancher.example.com' },
    })
    expect(access.body.url).toBe('wss://rancher.example.com/v1/exec/')
  })

  test('with access control off everyone is the admin', async () => {
    const peer = await start({ accessControl: false })
    const answer = await call(peer, '/v2-beta/projects/1a5/containers', { key: { accessKey: 'wrong', secretKey: 'key' } })
    expect(answer.status).toBe(200)
  })

  test('a browser gets a page, and may not write without its token', async () => {
    const peer = await start()
    const headers = { 'User-Agent': 'Mozilla/5.0', Accept: '*/*' }
    expect((await call(peer, '/v2-beta/containers', { headers })).headers.get('content-type')).toContain('text/html')
    expect((await call(peer, '/v2-beta/containers?_format=json', { headers })).body.type).toBe('collection')
    const { id } = peer.containers.get('shop-web-1')
    const write = await call(peer, `/v2-beta/containers/${id}/?action=execute`, { headers, body: { command: ['true'] } })
    expect([write.status, write.text.includes('InvalidCSRFToken')]).toEqual([403, true])
  })

  test('every answer names the release of its generation', async () => {
    const peer = await start({ generation: 'B' })
    expect((await call(peer, '/v2-beta')).headers.get('x-rancher-version')).toBe('v1.6.26')
    peer.generation = 'A'
    expect((await call(peer, '/v2-beta', { key: null })).headers.get('x-rancher-version')).toBe('v1.2.0')
  })
})

describe('lists', () => {
  test('a container has the fields of the real one, in each version its own', async () => {
    const peer = await start()
    const { id, engineId } = peer.containers.get('shop-api-1-metrics')
    const { body } = await call(peer, `/v2-beta/containers/${id}`)
    expect(body).toMatchObject({
      id,
      type: 'container',
      baseType: 'instance',
      name: 'shop-api-1-metrics',
      state: 'running',
      transitioning: 'no',
      accountId: '1a5',
      hostId: '1h1',
      externalId: engineId,
      imageUuid: 'docker:shop/metrics:2',
      system: false,
      privileged: false,
      capAdd: null,
    })
    expect(engineId).toMatch(/^[0-9a-f]{64}$/)
    expect(body.labels).toMatchObject({
      role: 'sidekick',
      'io.rancher.stack.name': 'shop',
      'io.rancher.stack_service.name': 'shop/api/metrics',
      'io.rancher.service.launch.config': 'metrics',
    })
    const old = (await call(peer, `/v1/containers/${id}`)).body
    expect(old).not.toHaveProperty('serviceIds')
    expect(old).not.toHaveProperty('stackId')
    expect((await call(peer, `/v2-beta/containers/1x${id.slice(2)}`)).body.id).toBe(id)
    expect((await call(peer, '/v2-beta/containers/nonsense')).status).toBe(404)
  })

  test('pages are 100 long unless asked otherwise, 3000 at most, and next is followed verbatim', async () => {
    const peer = await start()
    await peer.addContainers(Array.from({ length: 230 }, (_, n) => ({ name: `many-${n}` })))
    const all: string[] = []
    let pages = 0
    for (let url: string | null = '/v2-beta/containers?state=running'; url; pages++) {
      const { body }: { body: Json } = await call(peer, url)
      expect(body.pagination.limit).toBe(100)
      all.push(...names(body))
      url = body.pagination.next
    }
    expect(pages).toBe(3)
    expect(new Set(all).size).toBe(all.length)
    expect(all.filter((name) => name.startsWith('many-')).length).toBe(230)
    for (const [limit, given] of [
      ['0', 3000],
      ['-4', 3000],
      ['99999', 3000],
      ['garbage', 100],
      ['7', 7],
    ] as const) {
      expect((await call(peer, `/v2-beta/containers?limit=${limit}`)).body.pagination.limit).toBe(given)
    }
  })

  test('the marker is a row offset: what goes between two pages makes others be skipped', async () => {
    const peer = await start({ world: Array.from({ length: 6 }, (_, n) => ({ name: `c${n}` })) })
    const first = await call(peer, '/v2-beta/containers?limit=3')
    expect(names(first.body)).toEqual(['c0', 'c1', 'c2'])
    peer.containers.remove('c0')
    const second = await call(peer, first.body.pagination.next)
    expect(names(second.body)).toEqual(['c4', 'c5'])
    expect(second.body.pagination.next).toBe(null)
  })

  test('filters on columns work; labels, hosts, misspelt fields and unsupported operators are silently ignored', async () => {
    const peer = await start()
    const list = async (query: string): Promise<string[]> => names((await call(peer, `/v2-beta/containers?${query}`)).body)
    const all = await list('')
    expect(await list('name=shop-web-2')).toEqual(['shop-web-2'])
    expect(await list('name_prefix=shop-web')).toEqual(['shop-web-1', 'shop-web-2', 'shop-web-3'])
    expect(await list('name_prefix=shop_web%252')).toEqual(['shop-web-2'])
    expect(await list('name_prefix=shop_%25-2')).toEqual(all.filter((name) => /^shop.*-2/.test(name)))
    expect(await list('name_like=%25-web-1')).toEqual(['shop-web-1', 'blog-web-1'])
    expect(await list('state=stopped')).toEqual(['shop-worker-1'])
    expect(await list('state_ne=running')).toEqual(['shop-worker-1', 'shop-worker-2'])
    expect(await list('system=true')).toEqual(['healthcheck-1', 'rancher-agent'])
    expect(await list(`externalId_prefix=${peer.containers.get('shop-db-1').engineId.slice(0, 12)}`)).toEqual(['shop-db-1'])
    expect(await list('healthState_notnull=')).toEqual(['shop-web-1', 'shop-web-2', 'shop-web-3'])
    expect(await list('name=shop-web-1&name=shop-web-2')).toEqual([])
    for (const ignored of [
      'labels=role%3Dweb',
      'hostId=1h2',
      'imageUuid=docker:shop/web:7',
      'nmae=shop-web-1',
      'state_prefix=stop',
      'name_lt=b',
    ]) {
      expect(await list(ignored)).toEqual(all)
    }
    expect((await list('sort=name&order=desc'))[0]).toBe([...all].sort().at(-1))
  })

  test('removed containers leave the list, and can still be read', async () => {
    const peer = await start()
    const { id } = peer.containers.get('shop-web-2')
    peer.containers.remove('shop-web-2')
    expect(names((await call(peer, '/v2-beta/containers')).body)).not.toContain('shop-web-2')
    const gone = await call(peer, `/v2-beta/containers/${id}`)
    expect([gone.status, gone.body.state, gone.body.actions]).toEqual([200, 'removed', {}])
  })

  test('stacks are environments in v1; a service links to its instances', async () => {
    const peer = await start()
    expect(names((await call(peer, '/v2-beta/stacks')).body)).toEqual(['shop', 'blog', 'healthcheck'])
    expect((await call(peer, '/v1/environments')).body.data[0].id).toBe('1e4')
    expect((await call(peer, '/v1/stacks')).status).toBe(404)
    const service = (await call(peer, '/v2-beta/services?name=web')).body.data[0]
    expect(names((await call(peer, service.links.instances)).body)).toEqual(['shop-web-1', 'shop-web-2', 'shop-web-3'])
    expect((await call(peer, '/v2-beta/hosts')).body.data.map((one: Json) => one.id)).toEqual(['1h1', '1h2'])
  })
})

describe('actions', () => {
  const actions = async (peer: RancherPeer, name: string, key = peer.environmentKey): Promise<string[]> =>
    Object.keys((await call(peer, `/v2-beta/projects/1a5/containers/${peer.containers.get(name).id}`, { key })).body.actions)

  test('execute is offered only in exactly running, logs also while and after stopping', async () => {
    const peer = await start()
    for (const [state, expected] of [
      ['running', ['execute', 'logs']],
      ['updating-running', []],
      ['restarting', []],
      ['stopping', ['logs']],
      ['stopped', ['logs']],
    ] as const) {
      peer.containers.setState('shop-web-1', state)
      const offered = (await actions(peer, 'shop-web-1')).filter((one) => ['execute', 'logs'].includes(one))
      expect([state, ...offered]).toEqual([state, ...expected])
    }
  })

  test('a restricted key gets no execute on privileged, capability, agent and system containers; a readonly key never', async () => {
    const peer = await start()
    await peer.addContainers([{ name: 'caps', capAdd: ['NET_ADMIN'] }])
    const has = async (name: string, key = peer.restrictedKey) => (await actions(peer, name, key)).includes('execute')
    expect(await has('shop-web-1')).toBe(true)
    for (const name of ['shop-db-1', 'caps', 'deploy-bot', 'healthcheck-1'])
      expect([name, await has(name)]).toEqual([name, false])
    expect(await actions(peer, 'healthcheck-1', peer.restrictedKey)).toEqual(['logs'])
    expect(await actions(peer, 'shop-web-1', peer.readonlyKey)).toEqual(['logs'])
    expect(await has('shop-db-1', peer.accountKey)).toBe(true)
  })

  test('execute on what does not run is 422 ActionNotAvailable without a message; for a readonly key 422 InvalidAction', async () => {
    const peer = await start()
    const post = (name: string, key = peer.environmentKey) =>
      call(peer, `/v2-beta/projects/1a5/containers/${peer.containers.get(name).id}/?action=execute`, {
        key,
        body: { command: ['true'] },
      })
    const stopped = await post('shop-worker-1')
    expect(stopped.status).toBe(422)
    expect(stopped.body).toMatchObject({ code: 'ActionNotAvailable', message: null, fieldName: 'action', status: 422 })
    expect((await post('shop-web-1', peer.readonlyKey)).body).toMatchObject({ code: 'InvalidAction', message: null })
    expect(peer.seen.executes).toEqual([])
  })

  test('execute checks its body: JSON whatever the type, a command that is there; one string is one element; three defaults are true', async () => {
    const peer = await start()
    const { id } = peer.containers.get('shop-web-1')
    const post = (body: unknown) => call(peer, `/v1/containers/${id}/?action=execute`, { body })
    const code = async (body: unknown) => {
      const answer = await post(body)
      return [answer.status, answer.body.code, answer.body.fieldName]
    }
    expect(await code('{nonsense')).toEqual([400, 'InvalidBodyContent', undefined])
    expect(await code({})).toEqual([422, 'MissingRequired', 'command'])
    expect(await code({ command: [] })).toEqual([422, 'MissingRequired', 'command'])
    expect(await code({ command: null })).toEqual([422, 'NotNullable', 'command'])
    const good = await post({ command: 'ls -la', attachStderr: true, env: ['A=1'] })
    expect(good.body).toEqual({
      id: null,
      type: 'hostAccess',
      links: {},
      actions: {},
      baseType: 'hostAccess',
      token: expect.any(String),
      url: `${peer.url.replace('http', 'ws')}/v1/exec/`,
    })
    expect(peer.seen.executes).toEqual([
      { containerId: id, container: 'shop-web-1', argv: ['ls -la'], tty: true, attachStdin: true, attachStdout: true },
    ])
    expect(peer.seen.starts).toEqual([])
  })

  test('a container without a host is 404, a server without its proxy 501, an unknown path 404, an odd method 405', async () => {
    const peer = await start()
    await peer.addContainers([{ name: 'nowhere', host: null }])
    const post = (name: string) =>
      call(peer, `/v2-beta/containers/${peer.containers.get(name).id}/?action=execute`, { body: { command: ['true'] } })
    expect((await post('nowhere')).status).toBe(404)
    peer.faults.proxyDisabled = true
    expect((await post('shop-web-1')).body).toMatchObject({ status: 501, code: 'HostApiProxyDisabled' })
    expect((await call(peer, '/v2-beta/nothing')).status).toBe(404)
    expect((await call(peer, '/v2-beta/containers', { method: 'PUT', body: {} })).body).toMatchObject({
      status: 405,
      code: 'Method not allowed',
    })
  })

  test('stop answers 202 with a state on its way, and the container gets there', async () => {
    const peer = await start()
    const { id } = peer.containers.get('shop-web-1')
    const stop = await call(peer, `/v2-beta/containers/${id}/?action=stop`, { body: {} })
    expect([stop.status, stop.body.state, stop.body.transitioning]).toEqual([202, 'stopping', 'yes'])
    for (let state = ''; state !== 'stopped'; ) state = (await call(peer, `/v2-beta/containers/${id}`)).body.state
    expect((await call(peer, `/v2-beta/containers/${id}/?action=start`, { method: 'POST' })).status).toBe(202)
  })

  test('logs gives a token for the logs websocket', async () => {
    const peer = await start()
    const { id } = peer.containers.get('shop-web-1')
    const answer = await call(peer, `/v2-beta/containers/${id}/?action=logs`, { body: { follow: false, timestamps: false } })
    expect(answer.body.url).toBe(`${peer.url.replace('http', 'ws')}/v1/logs/`)
    const socket = new WebSocket(`${answer.body.url}?token=${answer.body.token}`)
    const lines: string[] = []
    socket.onmessage = (event) => lines.push(String(event.data))
    const code = await new Promise<number>((resolve) => {
      socket.onclose = (event) => resolve(event.code)
    })
    expect([...lines, code]).toEqual(['01 GET /healthz 200\n', '02 upstream timed out\n', 1000])
  })
})

describe('prepared answers', () => {
  test('a fault answers the next matching request, as often as it says, and then is gone', async () => {
    const peer = await start()
    peer.faults.http.push({ match: /^POST .*execute/, status: 429, retryAfter: 7 }, { match: '/hosts', status: 500, times: 2 })
    expect((await call(peer, '/v2-beta/containers')).status).toBe(200)
    await expect(execute(peer, { command: ['true'] })).rejects.toThrow('429')
    await execute(peer, { command: ['true'] })
    const failed = await call(peer, '/v2-beta/hosts')
    expect([failed.status, failed.body.code]).toEqual([500, 'Internal Server Error'])
    expect((await call(peer, '/v2-beta/hosts')).status).toBe(500)
    expect((await call(peer, '/v2-beta/hosts')).status).toBe(200)
    peer.faults.http.push({ status: 503, retryAfter: 3, body: 'upstream is down' })
    const plain = await call(peer, '/v2-beta')
    expect([plain.status, plain.headers.get('retry-after'), plain.text]).toEqual([503, '3', 'upstream is down'])
    peer.faults.cattleDown = true
    expect([(await call(peer, '/v2-beta')).status, (await call(peer, '/v2-beta')).text]).toEqual([502, ''])
    expect(peer.seen.requests.map((one) => one.status).slice(-3)).toEqual([503, 502, 502])
  })
})

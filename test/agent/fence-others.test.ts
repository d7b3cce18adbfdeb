/** What an agent beside Kubernetes, Rancher 1.x or Rancher 2 lets pass, and everything that it refuses. */

import { describe, expect, it } from 'vitest'
import { type Call, type Fence, partsOf, Refusal } from '../../src/agent/fence.ts'
import { kubernetesFence } from '../../src/agent/fence-kubernetes.ts'
import { rancher1Fence } from '../../src/agent/fence-rancher1.ts'
import { rancher2Fence } from '../../src/agent/fence-rancher2.ts'
import { refusal } from './refusal.ts'

const asking =
  (fence: Fence) =>
  (method: string, path: string, more: Partial<Call> = {}) =>
    fence({ kind: 'http', method, path, headers: {}, body: '', ...more }, AbortSignal.timeout(5_000))

describe('a path', () => {
  it('is taken apart only where it is written plainly', () => {
    expect(partsOf('/v1.41/containers/web-1/json?all=1').segments).toEqual(['v1.41', 'containers', 'web-1', 'json'])
    const tricks = [
      ...[
        '',
        '/',
        'a',
        '//a',
        '/a/',
        '/a//b',
        '/.',
        '/..',
        '/a/..',
        '/a/../b',
        '/a/./b',
        '/a/.../b',
        '/%2e%2e/a',
        '/a%2fb',
        '/a%2Fb',
        '/a%00',
      ],
      ...[
        '/a\\b',
        '/a;b',
        '/a b',
        '/a\n',
        '/ä',
        '/a#b',
        '/a*',
        "/a'",
        'http://x/a',
        '@x/a',
        '/a,b',
        '/a&b',
        '/a=b',
        '/a+b',
        '/$a',
      ],
    ]
    for (const path of tricks)
      expect([path, refusedBy(() => partsOf(path))]).toEqual([path, expect.stringContaining('not written plainly')])
    expect(refusedBy(() => partsOf('/a?x=1&x=2'))).toContain('stands twice')
    expect(partsOf('/a?command=x&command=y', ['command']).query.getAll('command')).toEqual(['x', 'y'])
  })
})

function refusedBy(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof Refusal) return error.message
    throw error
  }
  return 'it passed'
}

describe('the list of an agent beside Kubernetes', () => {
  const pass = asking(kubernetesFence(['shop']))
  const pods = '/api/v1/namespaces/shop/pods'

  it('lets looks at pods and commands in them pass, in its namespaces', async () => {
    expect(await pass('GET', '/version')).toEqual({ method: 'GET', path: '/version' })
    expect((await pass('GET', `${pods}?limit=500&labelSelector=app%3Dweb`)).path).toBe(
      `${pods}?limit=500&labelSelector=app%3Dweb`,
    )
    expect((await pass('GET', `${pods}/web-1`)).path).toBe(`${pods}/web-1`)
    const exec = `${pods}/web-1/exec?container=app&command=echo&command=${encodeURIComponent('a b/../c')}&stdout=true`
    expect((await pass('GET', exec, { kind: 'socket' })).path).toBe(
      `${pods}/web-1/exec?container=app&command=echo&command=a+b%2F..%2Fc&stdout=true`,
    )
    const review = { kind: 'SelfSubjectAccessReview', spec: { resourceAttributes: { verb: 'create', resource: 'pods' } } }
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
    expect(JSON.parse((await pass('POST', path, { body: JSON.stringify(review) })).body ?? '')).toEqual(review)
  })

  it('[default-deny] refuses other namespaces, other things, other verbs and other spellings', async () => {
    const others = [
      ...[
        'GET /api/v1/namespaces/kube-system/pods',
        'GET /api/v1/pods',
        'GET /api/v1/namespaces',
        'GET /api/v1/namespaces/shop/secrets',
      ],
      ...[
        'GET /api/v1/namespaces/shop/secrets/x',
        'GET /api/v1/nodes',
        'GET /api/v1/nodes/n1/proxy/exec/shop/web-1/app',
        'GET /apis/apps/v1/namespaces/shop/deployments',
      ],
      ...[
        'PATCH /apis/apps/v1/namespaces/shop/deployments/x',
        'POST /api/v1/namespaces/shop/pods',
        'DELETE /api/v1/namespaces/shop/pods/web-1',
        'GET /api/v1/namespaces/shop/pods/web-1/log',
      ],
      ...[
        'GET /api/v1/namespaces/shop/pods/web-1/portforward',
        'GET /api/v1/namespaces/shop/pods/web-1/proxy/x',
        'GET /api/v1/namespaces/shop/configmaps',
        'GET /metrics',
        'GET /api',
      ],
      ...[
        'GET /api/v1/namespaces/shop/pods/../../kube-system/pods',
        'GET /api/v1/namespaces/shop%2F..%2Fkube-system/pods',
        'GET /api//v1/namespaces/shop/pods',
        'GET /api/v1/namespaces/shop/pods?watch=1',
      ],
      ...[
        'GET /api/v1/namespaces/shop/pods/Web-1',
        'GET /api/v1/namespaces/shop/pods/web-1/exec?command=id',
        'POST /api/v1/namespaces/shop/pods/web-1/exec?command=id',
        'POST /apis/authorization.k8s.io/v1/subjectaccessreviews',
      ],
    ]
    for (const one of others) {
      const [method = '', path = ''] = one.split(' ')
      expect([one, await refusal(pass(method, path))]).toEqual([one, expect.stringMatching(/list|plainly/)])
    }
    for (const path of [
      `${pods}/web-1/attach?stdin=true`,
      `${pods}/web-1/exec?command=id&container=a&container=b`,
      '/api/v1/namespaces/other/pods/x/exec?command=id',
    ])
      expect(await refusal(pass('GET', path, { kind: 'socket' }))).toMatch(/list|twice/)
    expect(await refusal(pass('POST', `${pods}/web-1/exec?command=id`, { kind: 'upgrade' }))).toMatch(/list/)
  })

  it('S28 takes nobody’s word for who asks', async () => {
    for (const name of ['impersonate-user', 'impersonate-group', 'impersonate-extra-scopes'])
      expect(await refusal(pass('GET', pods, { headers: { [name]: 'system:masters' } }))).toMatch(/Impersonate/)
  })

  it('all namespaces only where its file says so', async () => {
    const all = asking(kubernetesFence(undefined))
    expect((await all('GET', '/api/v1/pods')).path).toBe('/api/v1/pods')
    expect((await all('GET', '/api/v1/namespaces/other/pods')).path).toBe('/api/v1/namespaces/other/pods')
    expect(await refusal(all('GET', '/api/v1/secrets'))).toMatch(/list/)
  })
})

describe('the list of an agent beside Rancher 2', () => {
  const pass = asking(rancher2Fence('c-abc', ['shop']))
  it('lets looks at its cluster pass, and the rest through its proxy as to Kubernetes', async () => {
    expect((await pass('GET', '/v3/clusters/c-abc')).path).toBe('/v3/clusters/c-abc')
    expect((await pass('GET', '/v3/settings/server-version')).path).toBe('/v3/settings/server-version')
    const pods = '/k8s/clusters/c-abc/api/v1/namespaces/shop/pods'
    expect((await pass('GET', pods)).path).toBe(pods)
    expect((await pass('GET', `${pods}/web-1/exec?command=id`, { kind: 'socket' })).path).toBe(`${pods}/web-1/exec?command=id`)
  })

  it('[default-deny] refuses other clusters, tokens, shells and writes', async () => {
    const others = [
      ...[
        'GET /k8s/clusters/local/api/v1/namespaces/shop/pods',
        'GET /k8s/clusters/c-abc/api/v1/namespaces/kube-system/pods',
        'GET /k8s/clusters/c-abc/api/v1/namespaces/shop/secrets',
      ],
      ...[
        'GET /v3/tokens',
        'POST /v3/tokens',
        'GET /v3/users',
        'GET /v3/clusters/local',
        'POST /v3/clusters/c-abc?action=generateKubeconfig',
        'PUT /v3/settings/x',
        'GET /v3/projects/local:p-1',
      ],
      ...['GET /v3/cluster/c-abc/secrets', 'GET /k8s/clusters/c-abc', 'GET /v3/clusters/c-abc/../local'],
    ]
    for (const one of others) {
      const [method = '', path = ''] = one.split(' ')
      expect([one, await refusal(pass(method, path))]).toEqual([one, expect.stringMatching(/list|plainly/)])
    }
    expect(await refusal(pass('GET', '/v3/clusters/c-abc?shell=true', { kind: 'socket' }))).toMatch(/list/)
  })
})

describe('the list of an agent beside Rancher 1.x', () => {
  const command = JSON.stringify({ command: ['id'], attachStdin: false, attachStdout: true, tty: false })
  const execute = '/v2-beta/projects/1a5/containers/1i7/?action=execute'

  it('lets looks at its environment and commands in it pass', async () => {
    const pass = asking(rancher1Fence('1a5'))
    expect((await pass('GET', '/v2-beta')).path).toBe('/v2-beta')
    expect((await pass('GET', '/v2-beta/projects/1a5/containers?limit=1000&name_prefix=web')).path).toBe(
      '/v2-beta/projects/1a5/containers?limit=1000&name_prefix=web',
    )
    expect(await pass('POST', execute, { body: command })).toMatchObject({ path: execute, body: command })
  })

  it('a connection is opened once, with a token that was given through it, and where the token leads', async () => {
    const pass = asking(rancher1Fence('1a5'))
    const socket = (path: string) => pass('GET', path, { kind: 'socket' })
    expect(await refusal(socket('/v1/exec/?token=stolen'))).toBe('that connection was not made through it')
    const give = async (token: string) => {
      const { answer } = await pass('POST', execute, { body: command })
      answer?.({ status: 200, body: JSON.stringify({ url: 'wss://rancher/v1/exec/', token }) })
    }
    await give('one')
    expect((await socket('/v1/exec/?token=one')).path).toBe('/v1/exec/?token=one')
    expect(await refusal(socket('/v1/exec/?token=one'))).toBe('that connection was not made through it')
    for (const path of ['/v1/console/?token=two', '/v1/exec/?token=two&x=1', '/v1/exec/../logs/?token=two']) {
      await give('two')
      expect(await refusal(socket(path))).toBe('that connection was not made through it')
    }
  })

  it('[default-deny] refuses other environments, actions, kinds, bodies and spellings', async () => {
    const pass = asking(rancher1Fence('1a5'))
    const others = [
      ...[
        'GET /v2-beta/projects/1a7/containers',
        'GET /v2-beta/containers',
        'GET /v2-beta/projects/1a5/apikeys',
        'POST /v2-beta/projects/1a5/apikeys',
        'GET /v2-beta/projects/1a5/credentials',
      ],
      ...[
        'POST /v2-beta/projects/1a5/containers/1i7/?action=console',
        'POST /v2-beta/projects/1a5/containers/1i7/?action=remove',
        'POST /v2-beta/projects/1a5/containers',
        'POST /v2-beta/projects/1a5/containers/1i7',
      ],
      ...[
        'DELETE /v2-beta/projects/1a5/containers/1i7',
        'POST /v2-beta/projects/1a5/services/1s3/?action=upgrade',
        'PUT /v2-beta/projects/1a5/services/1s3',
        'POST /v2-beta/projects/1a5/hosts/1h1/?action=execute',
      ],
      ...[
        'GET /v2-beta/projects/1a5/../1a7/containers',
        'GET /v2-beta/projects/1a5%2f..%2f1a7/containers',
        'GET /v3/projects',
        'POST /v2-beta/projects/1a5/containers/1i7/?action=execute&action=console',
      ],
      ...['GET /v2-beta/projects/1a5/containers?include=credentials', 'GET /admin', 'GET /v1-catalog/templates'],
    ]
    for (const one of others) {
      const [method = '', path = ''] = one.split(' ')
      expect([one, await refusal(pass(method, path, { body: command }))]).toEqual([
        one,
        expect.stringMatching(/list|plainly|twice/),
      ])
    }
    for (const body of ['', '{}', JSON.stringify({ command: ['id'], Command: ['x'] }), JSON.stringify({ command: 'id' })])
      expect(await refusal(pass('POST', execute, { body }))).toMatch(/of a command is not on its list/)
  })
})

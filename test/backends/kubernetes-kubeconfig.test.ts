/** A kubeconfig as the way to a cluster: its contexts, what each of them may say, and what is refused in words. */

import { writeFileSync } from 'node:fs'
import { createServer as createHttpsServer } from 'node:https'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { BackendError } from '../../src/core/errors.ts'
import { transportError } from '../../src/runtime/socket.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { privateCa } from '../peers/private-ca.ts'
import { peerWith, soon } from './kubernetes-cluster.ts'
import { backendWith, eventsOf, folder, kubeconfig, listening, namesOf, type Parts, POD, tokenOf } from './kubernetes-files.ts'

describe('a kubeconfig', () => {
  test('its current context, with its namespace, is taken; another where it is named', async () => {
    const peer = await peerWith({ pods: POD })
    const file = kubeconfig(peer, { user: { token: tokenOf('exec-user') } })
    expect(await namesOf(backendWith({ kubeconfig: file }))).toEqual(['web-1'])
    const error = await failureOf(backendWith({ kubeconfig: file, context: 'other' }).list({}, soon()))
    expect(error.message).toBe(`${file}, context other: there is no cluster called nowhere.`)
  })

  test('YAML as kubectl writes it is read, with a token file beside it', async () => {
    const peer = await peerWith({ pods: POD })
    const dir = folder()
    writeFileSync(join(dir, 'token'), `${tokenOf('exec-user')}\n`)
    writeFileSync(
      join(dir, 'config'),
      `apiVersion: v1
kind: Config
preferences: {}
current-context: here
clusters:
- cluster: { server: "${peer.url}/" }
  name: c
contexts:
- context:
    cluster: c
    namespace: shop
    user: me
  name: here
users:
- name: me
  user:
    tokenFile: token
`,
    )
    expect(await namesOf(backendWith({ kubeconfig: join(dir, 'config') }))).toEqual(['web-1'])
  })

  test('a token file that was replaced is read again when the old token is refused', async () => {
    const peer = await peerWith({ pods: POD })
    const dir = folder()
    writeFileSync(join(dir, 'token'), 'of-yesterday')
    const backend = backendWith({ kubeconfig: kubeconfig(peer, { user: { tokenFile: 'token' } }, dir) })
    expect((await failureOf(backend.list({}, soon()))).code).toBe('backend_unauthorized')
    writeFileSync(join(dir, 'token'), tokenOf('exec-user'))
    expect(await namesOf(backend)).toEqual(['web-1'])
  })

  test.each<[string, Parts, string, string]>([
    ['an unknown context', { more: { 'current-context': 'nope' } }, 'has no context called nope', 'other, here'],
    ['none that is current', { more: { 'current-context': '' } }, 'has no current-context', 'other, here'],
    ['a user that is not there', { context: { user: 'you' } }, 'no user called you', 'users:'],
    [
      'user and password',
      { user: { username: 'admin', password: 'hunter2-hunter2' } },
      'user and password are not supported',
      'token',
    ],
    ['another provider', { user: { 'auth-provider': { name: 'gcp' } } }, 'auth-provider gcp', 'gke-gcloud-auth-plugin'],
    ['a key without its certificate', { user: { 'client-key-data': 'a2V5' } }, 'a client certificate needs its key', 'both'],
    ['a server that is none', { cluster: { server: 'kube.example.com:6443' } }, 'server is not an http(s) URL', 'https://'],
    [
      'an old plugin',
      { user: { exec: { apiVersion: 'client.authentication.k8s.io/v1alpha1', command: 'x' } } },
      'v1alpha1, which is not supported',
      'client.authentication.k8s.io/v1',
    ],
    [
      'a plugin that wants a terminal',
      { user: { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: 'x', interactiveMode: 'Always' } } },
      'wants a terminal',
      'Never',
    ],
    ['a CA that is not there', { cluster: { 'certificate-authority': 'ca.pem' } }, 'ca.pem', 'path'],
    [
      'a CA that is not base64',
      { cluster: { 'certificate-authority-data': '***' } },
      'certificate-authority-data is not base64',
      'base64',
    ],
    [
      'no verification beside a CA',
      { cluster: { 'insecure-skip-tls-verify': true, 'certificate-authority-data': 'YQ==' } },
      'beside a certificate authority',
      'one of the two',
    ],
    ['a uid to be', { user: { as: 'a', 'as-uid': '7' } }, 'as-uid', 'Leave'],
    ['something else than YAML', { more: { users: 'x' } }, 'users is not what a kubeconfig holds', 'kubectl config view'],
  ])('%s is told with file, place and remedy', async (_, parts, message, next) => {
    const file = kubeconfig({ url: 'http://127.0.0.1:1' }, parts)
    const error = await failureOf(backendWith({ kubeconfig: file }).list({}, soon()))
    expect([error.code, error.ran]).toEqual(['config', 'no'])
    expect(error.message).toContain(file.slice(0, file.lastIndexOf('/')))
    expect(error.message).toContain(message)
    // What a plugin writes may be its token (S33).
    expect(error.message).not.toContain('k8s-aws-v1')
    expect(error.next).toContain(next)
    expect(`${error.message} ${error.next}`).not.toContain('hunter2')
  })

  test('a file that is not there, and a list of files, are told', async () => {
    expect((await failureOf(backendWith({ kubeconfig: '/no/such/config' }).list({}, soon()))).message).toContain(
      '/no/such/config',
    )
    expect(() => backendWith({ kubeconfig: '/a/config:/b/config' })).toThrow(/several files/)
  })

  test('S31 a certificate for another name, or one that has expired, is told as what it is, and no other CA is asked for', async () => {
    const { key, cert, ca } = privateCa('Cluster CA', { host: 'DNS:kube.internal' })
    const list = { kind: 'PodList', apiVersion: 'v1', metadata: {}, items: [] }
    const server = createHttpsServer({ key, cert }, (_, response) => response.end(JSON.stringify(list)))
    const { port } = await listening(server)
    const told = async (cluster: object) => {
      const parts = { cluster: { 'certificate-authority-data': btoa(ca), ...cluster }, user: { token: 'x' } }
      const backend = backendWith({ kubeconfig: kubeconfig({ url: `https://127.0.0.1:${port}` }, parts) })
      return backend.list({}, soon()).then(
        () => 'listed',
        (error: BackendError) => `${error.message} ${error.next}`,
      )
    }
    const other = await told({})
    expect(other).toContain('the TLS certificate is for another name (ERR_TLS_CERT_ALTNAME_INVALID)')
    expect(other).toContain('tls-server-name')
    expect(other).not.toMatch(/private CA|NODE_EXTRA_CA_CERTS/)
    expect(await told({ 'tls-server-name': 'kube.internal' })).toBe('listed')
    const late = transportError(new URL('https://kube'), Object.assign(new Error('x'), { code: 'CERT_HAS_EXPIRED' }), soon())
    expect(late).toMatchObject({ reason: 'tls', certificate: 'expired', message: expect.stringContaining('is expired') })
    const foreign = await told({ 'certificate-authority-data': btoa(privateCa('Another CA').ca) })
    expect(foreign).toMatch(/private CA has signed/)
  })

  test('a client certificate that is PEM only on the outside is told', async () => {
    const broken = btoa('-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n')
    const user = { 'client-certificate-data': broken, 'client-key-data': broken }
    const file = kubeconfig({ url: 'https://127.0.0.1:1' }, { user })
    expect(await failureOf(backendWith({ kubeconfig: file }).list({}, soon()))).toMatchObject({ code: 'config', ran: 'no' })
  })

  test('as: and its groups go with every request, each as a header of its own, and not beside impersonate: actor', async () => {
    const people = [
      { name: 'drover', token: tokenOf('drover'), rules: [{ verbs: ['impersonate'], resources: ['users', 'groups'] }] },
      { name: 'group:ops, dev', token: 'x', rules: [{ verbs: ['get', 'create'], resources: ['pods/exec'] }] },
      { name: 'group:lookers', token: 'y', rules: [{ verbs: ['list'], resources: ['pods'] }] },
    ]
    const peer = await peerWith({ pods: POD, people })
    const file = kubeconfig(peer, {
      user: { token: tokenOf('drover'), as: 'someone', 'as-groups': ['ops, dev', 'lookers'] },
    })
    const backend = backendWith({ kubeconfig: file })
    expect(await namesOf(backend)).toEqual(['web-1'])
    const [web] = await backend.list({}, soon())
    await eventsOf(backend.exec(web!, { argv: ['hostname'] }, newExec(), soon()))
    expect(peer.seen.execs.at(-1)).toMatchObject({ user: 'someone', groups: ['ops, dev', 'lookers'] })
    expect(peer.seen.requests[0]?.user).toBe('someone')
    const error = await failureOf(backendWith({ kubeconfig: file, impersonate: 'actor' }).list({}, soon()))
    expect(error.message).toContain('impersonate: actor')
  })
})

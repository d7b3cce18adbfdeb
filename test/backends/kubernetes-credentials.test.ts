import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import { execRights, roleYaml, rolloutRights, subjectOf } from '../../src/backends/kubernetes/rights.ts'
import type { KubernetesSettings } from '../../src/backends/kubernetes/settings.ts'
import type { Machine } from '../../src/backends/machine.ts'
import type { Reach } from '../../src/backends/transport.ts'
import { parseConfig } from '../../src/config.ts'
import { type BackendError, DroverError } from '../../src/core/errors.ts'
import type { ExecEvent } from '../../src/core/model.ts'
import { createRedactor } from '../../src/core/redact.ts'
import { Secret } from '../../src/core/secret.ts'
import { tokenFor } from '../../src/playground/kubernetes/access.ts'
import type { KubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { transportError } from '../../src/runtime/socket.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'
import { privateCa } from '../peers/private-ca.ts'
import { peerWith, soon } from './kubernetes-cluster.ts'

const machine = nodeMachine()
const POD = [{ namespace: 'shop', name: 'web-1' }]

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'drover-kube-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function backendWith(settings: Partial<KubernetesSettings>, of: Machine = machine) {
  return kubernetes('kube', { impersonate: 'none', ...settings }, { transport: nodeTransport, files: filesOf(of) })
}

type Parts = { user?: object; cluster?: object; context?: object; more?: object }

/** A kubeconfig for a pretend cluster. */
function kubeconfig(
  peer: Pick<KubernetesPeer, 'url'>,
  { user = {}, cluster = {}, context = {}, more = {} }: Parts,
  dir = folder(),
): string {
  const file = join(dir, 'config')
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'here',
    contexts: [
      { name: 'other', context: { cluster: 'nowhere', user: 'me' } },
      { name: 'here', context: { cluster: 'c', user: 'me', namespace: 'shop', ...context } },
    ],
    clusters: [{ name: 'c', cluster: { server: peer.url, ...cluster } }],
    users: [{ name: 'me', user }],
    ...more,
  })
  writeFileSync(file, text)
  return file
}

function script(dir: string, text: string, name = 'plugin'): string {
  const file = join(dir, name)
  writeFileSync(file, `#!/bin/sh\n${text}\n`)
  chmodSync(file, 0o755)
  return file
}

const tokenOf = (name: string) => tokenFor(name)
const namesOf = async (backend: ReturnType<typeof backendWith>) => (await backend.list({}, soon())).map(({ name }) => name)

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

describe('an exec plugin', () => {
  const credential = (status: object, apiVersion = 'client.authentication.k8s.io/v1') =>
    `cat <<'EOF'\n${JSON.stringify({ kind: 'ExecCredential', apiVersion, status })}\nEOF`
  const plugin = (command: string, more: object = {}) => ({
    exec: { apiVersion: 'client.authentication.k8s.io/v1', command, interactiveMode: 'Never', ...more },
  })

  test('is asked once, and again when its token is about to expire', async () => {
    const peer = await peerWith({ pods: POD })
    for (const isOver of [false, true]) {
      const dir = folder()
      const expirationTimestamp = new Date(Date.now() + (isOver ? -1 : 1) * 3_600_000).toISOString()
      script(dir, `echo x >>"$COUNT"\n${credential({ token: tokenOf('exec-user'), expirationTimestamp })}`)
      const env = [{ name: 'COUNT', value: join(dir, 'count') }]
      const backend = backendWith({ kubeconfig: kubeconfig(peer, { user: plugin('./plugin', { env }) }, dir) })
      for (let i = 0; i < 3; i += 1) expect(await namesOf(backend)).toEqual(['web-1'])
      const ran = readFileSync(join(dir, 'count'), 'utf8').length / 2
      expect(ran >= 3).toBe(isOver)
      if (!isOver) expect(ran).toBe(1)
    }
  })

  test('is asked again when its token is refused', async () => {
    const peer = await peerWith({ pods: POD })
    const dir = folder()
    script(
      dir,
      `if [ -e "$0.ran" ]; then\n${credential({ token: tokenOf('exec-user') })}\nelse touch "$0.ran"\n${credential({ token: 'revoked' })}\nfi`,
    )
    expect(await namesOf(backendWith({ kubeconfig: kubeconfig(peer, { user: plugin('./plugin') }, dir) }))).toEqual(['web-1'])
    expect(peer.seen.requests.map(({ status }) => status)).toEqual([401, 200])
  })

  test('S46 gets the kubeconfig’s variables, PATH, HOME and what the protocol says, and nothing of drover’s', async () => {
    const peer = await peerWith({ pods: POD })
    const dir = folder()
    script(dir, `env >"$0.env"\n${credential({ token: tokenOf('exec-user') })}`)
    const user = plugin(join(dir, 'plugin'), {
      args: ['get-token', '$(id)'],
      env: [{ name: 'PROFILE', value: 'prod' }],
      provideClusterInfo: true,
    })
    const cluster = { extensions: [{ name: 'client.authentication.k8s.io/exec', extension: { audience: 'x' } }] }
    process.env.DROVER_CANARY = 'canary-value'
    try {
      expect(await namesOf(backendWith({ kubeconfig: kubeconfig(peer, { user, cluster }, dir) }))).toEqual(['web-1'])
    } finally {
      delete process.env.DROVER_CANARY
    }
    const env = Object.fromEntries(
      readFileSync(join(dir, 'plugin.env'), 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
    // The shell's own.
    for (const name of ['PWD', 'SHLVL', '_', 'OLDPWD']) delete env[name]
    expect(Object.keys(env).sort()).toEqual(['HOME', 'KUBERNETES_EXEC_INFO', 'PATH', 'PROFILE'])
    expect(JSON.parse(env.KUBERNETES_EXEC_INFO!)).toEqual({
      kind: 'ExecCredential',
      apiVersion: 'client.authentication.k8s.io/v1',
      spec: { interactive: false, cluster: { server: peer.url, config: { audience: 'x' } } },
    })
  })

  test.each<[string, string, object, string, string]>([
    ['is not there', '', { command: './nope', installHint: 'brew install nope' }, 'ENOENT', 'brew install nope'],
    ['fails', 'echo "token k8s-aws-v1.abc" >&2; exit 3', {}, 'exit code 3.', 'by hand'],
    ['says nothing that is known', 'echo hello', {}, 'did not answer with an ExecCredential', 'prints'],
    ['answers in another version', credential({ token: 'x' }, 'client.authentication.k8s.io/v1beta1'), {}, 'v1beta1', 'agree'],
    ['gives nothing', credential({}), {}, 'neither a token nor a certificate', 'prints'],
    ['gives half a certificate', credential({ clientCertificateData: 'x' }), {}, 'without its key', 'Update'],
  ])('that %s is told with file, context and remedy', async (_, text, more, message, next) => {
    const dir = folder()
    script(dir, text)
    const file = kubeconfig({ url: 'http://127.0.0.1:1' }, { user: plugin('./plugin', more) }, dir)
    const error = await failureOf(backendWith({ kubeconfig: file }).list({}, soon()))
    expect([error.code, error.ran]).toEqual(['config', 'no'])
    expect(error.message).toContain(`${file}, context here`)
    expect(error.message).toContain(message)
    // What a plugin writes may be its token (S33).
    expect(error.message).not.toContain('k8s-aws-v1')
    expect(error.next).toContain(next)
  })

  test('v1beta1 is spoken too', async () => {
    const peer = await peerWith({ pods: POD })
    const dir = folder()
    const apiVersion = 'client.authentication.k8s.io/v1beta1'
    script(dir, credential({ token: tokenOf('exec-user') }, apiVersion))
    expect(
      await namesOf(backendWith({ kubeconfig: kubeconfig(peer, { user: plugin('./plugin', { apiVersion }) }, dir) })),
    ).toEqual(['web-1'])
  })
})

describe('OIDC', () => {
  const jwt = (claims: object) => `${btoa('{}')}.${btoa(JSON.stringify(claims)).replaceAll('=', '')}.sig`
  const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds

  async function issuer(answer: (form: URLSearchParams, authorization: string) => { status: number; body: object }) {
    const server = createHttpServer((request, response) => {
      let body = ''
      request.on('data', (data: Buffer) => {
        body += data.toString()
      })
      request.on('end', () => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
        const said = request.url?.includes('.well-known')
          ? { status: 200, body: { token_endpoint: `${url}/token` } }
          : answer(new URLSearchParams(body), request.headers.authorization ?? '')
        response.writeHead(said.status, { 'content-type': 'application/json' }).end(JSON.stringify(said.body))
      })
    })
    const { port } = await listening(server)
    return `http://127.0.0.1:${port}`
  }
  const provider = (config: object) => ({ 'auth-provider': { name: 'oidc', config: { 'client-id': 'drover', ...config } } })

  test('an id-token is sent as it is while it is good, and refreshed once when it is over', async () => {
    const good = jwt({ exp: inSeconds(3600) })
    const peer = await peerWith({ pods: POD, people: [{ name: 'me', token: good, rules: [{ verbs: ['*'], resources: ['*'] }] }] })
    const asked: string[] = []
    const url = await issuer((form, authorization) => {
      asked.push(`${form.get('grant_type')} ${form.get('refresh_token')} ${authorization}`)
      return { status: 200, body: { id_token: good } }
    })
    const fresh = kubeconfig(peer, { user: provider({ 'id-token': good }) })
    expect(await namesOf(backendWith({ kubeconfig: fresh }))).toEqual(['web-1'])
    const over = { 'id-token': jwt({ exp: inSeconds(-5) }), 'refresh-token': 'r1', 'client-secret': 's 1', 'idp-issuer-url': url }
    const backend = backendWith({ kubeconfig: kubeconfig(peer, { user: provider(over) }) })
    for (let i = 0; i < 2; i += 1) expect(await namesOf(backend)).toEqual(['web-1'])
    expect(asked).toEqual([`refresh_token r1 Basic ${btoa('drover:s%201')}`])
  })

  test('[no-secret-shown] S33 what the kubeconfig holds, and what the issuer gives in its place, is known to the redactor', async () => {
    const good = jwt({ exp: inSeconds(3600) })
    const peer = await peerWith({ pods: POD, people: [{ name: 'me', token: good, rules: [{ verbs: ['*'], resources: ['*'] }] }] })
    const url = await issuer(() => ({ status: 200, body: { id_token: good, refresh_token: 'refresh-token-of-today' } }))
    const config = { 'refresh-token': 'refresh-token-of-old', 'client-secret': 'secret-of-the-client', 'idp-issuer-url': url }
    const redactor = createRedactor([])
    const file = kubeconfig(peer, { user: provider({ 'id-token': jwt({ exp: inSeconds(-5) }), ...config }) })
    const ways = { transport: nodeTransport, files: filesOf(machine, redactor.learn) }
    await kubernetes('kube', { impersonate: 'none', kubeconfig: file }, ways).list({}, soon())
    for (const secret of ['refresh-token-of-old', 'secret-of-the-client', 'refresh-token-of-today', good])
      expect(redactor.text(`said ${secret}!`).text).toBe('said [masked: known secret]!')
  })

  test('an issuer that refuses is told, and no token with it', async () => {
    const url = await issuer(() => ({ status: 400, body: { error: 'invalid_grant' } }))
    const over = { 'id-token': jwt({ exp: inSeconds(-5) }), 'refresh-token': 'very-secret-refresh', 'idp-issuer-url': url }
    const file = kubeconfig({ url: 'http://127.0.0.1:1' }, { user: provider(over) })
    const error = await failureOf(backendWith({ kubeconfig: file }).list({}, soon()))
    expect(error.message).toContain('refused to refresh the token (HTTP 400)')
    expect(JSON.stringify(error.toFailure())).not.toContain('very-secret-refresh')
  })
})

describe('in a cluster', () => {
  const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/'
  /** This machine, with a pod's service account in a folder of the test. */
  const podOf = (dir: string, env: Record<string, string>): Machine => ({
    ...machine,
    env,
    readText: (path) => machine.readText(path.startsWith(ACCOUNT) ? join(dir, path.slice(ACCOUNT.length)) : path),
  })

  test('outside of one it says so', async () => {
    const error = await failureOf(backendWith({ inCluster: true }, podOf(folder(), {})).list({}, soon()))
    expect(error.message).toContain('KUBERNETES_SERVICE_HOST is not set')
  })

  test('a service account without its files is told by the file', async () => {
    const env = { KUBERNETES_SERVICE_HOST: '::1', KUBERNETES_SERVICE_PORT: '443' }
    const error = await failureOf(backendWith({ inCluster: true }, podOf(folder(), env)).list({}, soon()))
    expect(error.message).toContain(`${ACCOUNT}ca.crt`)
  })
})

describe('an address and a token', () => {
  test('[no-secret-shown] a refused token is not in the words', async () => {
    const peer = await peerWith({ pods: POD })
    const backend = backendWith({ server: peer.url, token: new Secret('a-token-that-is-wrong') })
    const error = await failureOf(backend.list({}, soon()))
    expect(error.code).toBe('backend_unauthorized')
    expect(JSON.stringify(error.toFailure()) + String(error.stack)).not.toContain('a-token-that-is-wrong')
  })

  test('S31 a CA that is named is the only one, wherever it is named: the system’s are not trusted beside it', async () => {
    const peer = await peerWith({ pods: POD })
    const { ca } = privateCa('Cluster CA')
    const dir = folder()
    writeFileSync(join(dir, 'ca.crt'), ca)
    writeFileSync(join(dir, 'token'), 'x')
    const data = btoa(ca)
    const inPod: Machine = {
      ...machine,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' },
      readText: (path) => machine.readText(path.replace('/var/run/secrets/kubernetes.io/serviceaccount', dir)),
    }
    const config = { 'idp-certificate-authority-data': data, 'id-token': 'x' }
    const user = { 'auth-provider': { name: 'oidc', config } }
    const server = { server: peer.url, token: new Secret('0123456789') }
    for (const settings of [
      { ...server, ca: new Secret(ca) },
      { ...server, ca: join(dir, 'ca.crt') },
      { inCluster: true as const },
      { kubeconfig: kubeconfig(peer, { cluster: { 'certificate-authority-data': data } }) },
      { kubeconfig: kubeconfig(peer, { cluster: { 'certificate-authority': join(dir, 'ca.crt') }, user }) },
    ]) {
      const asked: Reach[] = []
      const transport = (reach: Reach) => {
        asked.push(reach)
        return nodeTransport(reach)
      }
      const backend = kubernetes('kube', { impersonate: 'none', ...settings }, { transport, files: filesOf(inPod) })
      await backend.list({}, soon()).catch(() => undefined)
      expect(asked).not.toEqual([])
      for (const reach of asked) expect(reach).toEqual({ ca, caOnly: true })
    }
  })

  test('Workers has no files and no CA of its own: both are refused at start-up', () => {
    const on = (settings: Partial<KubernetesSettings>) => () =>
      kubernetes('kube', { impersonate: 'none', ...settings }, { transport: workerTransport })
    const server = { server: 'https://kube.example.com', token: new Secret('0123456789') }
    expect(on({ kubeconfig: '/a' })).toThrow(DroverError)
    expect(on({ inCluster: true })).toThrow(/no files|none on Workers/)
    expect(on({ ...server, ca: '/ca.pem' })).toThrow(DroverError)
    expect(on({ ...server, ca: new Secret('-----BEGIN CERTIFICATE-----') })).toThrow(/private CA/)
    expect(on({ ...server, insecureSkipVerify: true })).toThrow(/unverified/)
    expect(on({ ...server, impersonate: 'actor', impersonateGroup: ['a', 'b'] })).toThrow(/A header that comes more than once/)
    expect(on({ ...server, impersonate: 'actor', impersonateGroup: 'a' })).not.toThrow()
    expect(on(server)).not.toThrow()
  })
})

describe('a proxy', () => {
  test('gets CONNECT for requests and websockets, and sees no token', async () => {
    const peer = await peerWith({ pods: POD })
    const heard: string[] = []
    const proxy = createServer((client) => {
      client.on('error', () => {})
      client.once('data', (data: Buffer) => {
        heard.push(data.toString('latin1'))
        const [, port] = /^CONNECT 127\.0\.0\.1:(\d+) /.exec(data.toString('latin1')) ?? []
        const upstream = connect(Number(port), '127.0.0.1', () => {
          client.write('HTTP/1.1 200 Connection established\r\n\r\n')
          client.pipe(upstream).pipe(client)
        })
        upstream.on('error', () => client.destroy())
      })
    })
    const { port } = await listening(proxy)
    const cluster = { 'proxy-url': `http://127.0.0.1:${port}` }
    const backend = backendWith({ kubeconfig: kubeconfig(peer, { user: { token: tokenOf('exec-user') }, cluster }) })
    const [web] = await backend.list({}, soon())
    const events = await eventsOf(backend.exec(web!, { argv: ['hostname'] }, newExec(), soon()))
    expect(events.at(-1)).toEqual({ type: 'exit', code: 0 })
    expect(heard.length).toBeGreaterThanOrEqual(2)
    expect(heard.filter((one) => !one.startsWith('CONNECT '))).toEqual([])
    expect(heard.join('')).not.toContain(tokenOf('exec-user'))
  })

  test('of another kind is refused with words', async () => {
    const file = kubeconfig({ url: 'http://127.0.0.1:1' }, { cluster: { 'proxy-url': 'socks5://127.0.0.1:1080' } })
    expect((await failureOf(backendWith({ kubeconfig: file }).list({}, soon()))).next).toContain('socks')
  })
})

describe('in the name of who asked', () => {
  const people = [
    {
      name: 'drover',
      token: tokenOf('drover'),
      rules: [{ verbs: ['impersonate', 'list', 'get', 'create'], resources: ['users', 'groups', 'pods', 'pods/exec'] }],
    },
    { name: 'slack:T1/U1', token: 'x', rules: [{ verbs: ['get', 'create'], resources: ['pods/exec'] }] },
    { name: 'group:oncall', token: 'y', rules: [{ verbs: ['get', 'create'], resources: ['pods/exec'] }] },
  ]
  const alice = { kind: 'slack-user', team: 'T1', user: 'U1' } as const
  const mallory = { kind: 'slack-user', team: 'T1', user: 'U2' } as const

  test('the cluster sees the person, and the person’s own rights decide', async () => {
    const peer = await peerWith({ pods: POD, people })
    const file = kubeconfig(peer, { user: { token: tokenOf('drover') } })
    const backend = backendWith({ kubeconfig: file, impersonate: 'actor' })
    const [web] = await backend.list({}, soon())
    const run = (by?: Parameters<typeof backend.exec>[4]) =>
      eventsOf(backend.exec(web!, { argv: ['hostname'] }, newExec(), soon(), by))
    expect((await run(alice)).at(-1)).toEqual({ type: 'exit', code: 0 })
    expect(peer.seen.execs.map(({ user }) => user)).toEqual(['slack:T1/U1'])
    const refused = await failureOf(run(mallory))
    expect(refused.message).toContain('User "slack:T1/U2" cannot')
    // Never in drover's own name.
    expect(await failureOf(run())).toMatchObject({ code: 'identity', ran: 'no' })
    const group = backendWith({ kubeconfig: file, impersonate: 'actor', impersonateGroup: 'oncall' })
    await eventsOf(group.exec(web!, { argv: ['hostname'] }, newExec(), soon(), mallory))
    expect(peer.seen.execs.at(-1)).toMatchObject({ user: 'slack:T1/U2', groups: ['oncall'] })
    const groups = backendWith({ kubeconfig: file, impersonate: 'actor', impersonateGroup: ['oncall', 'a, b'] })
    await eventsOf(groups.exec(web!, { argv: ['hostname'] }, newExec(), soon(), mallory))
    expect(peer.seen.execs.at(-1)).toMatchObject({ user: 'slack:T1/U2', groups: ['oncall', 'a, b'] })
  })

  test('[gone-is-gone] S42 what a person started is ended in drover’s own name, whose rights need not be theirs', async () => {
    const engine = processEngine()
    const peer = await peerWith({ pods: POD, people, engine })
    const backend = backendWith({
      kubeconfig: kubeconfig(peer, { user: { token: tokenOf('drover') } }),
      impersonate: 'actor',
    })
    const [web] = await backend.list({}, soon())
    const connection = new AbortController()
    const exec = newExec()
    const argv = ['/bin/sh', '-c', 'echo go; sleep 600; true'] as const
    const events = backend.exec(web!, { argv }, exec, connection.signal, alice)[Symbol.asyncIterator]()
    while ((await events.next()).value?.type !== 'output');
    connection.abort()
    await events.next().catch(() => undefined)
    expect(await backend.kill(web!, { target: web!.id, exec }, soon())).toEqual({ result: 'gone' })
    await expect.poll(() => engine.pids()).toEqual([])
    expect(peer.seen.execs.map(({ user }) => user)).toEqual(['slack:T1/U1', 'drover'])
  })
})

describe('drover.yaml', () => {
  const mistakes = (entry: object) => {
    try {
      parseConfig(JSON.stringify({ backends: { kube: { kind: 'kubernetes', ...entry } } }), 'drover.yaml', {
        TOKEN: '0123456789',
      })
      return 'none'
    } catch (error) {
      return error instanceof DroverError ? error.message : String(error)
    }
  }
  const server = { server: 'https://kube.example.com:6443', token: { env: 'TOKEN' } }

  test.each<[object, string]>([
    [{ kubeconfig: '~/.kube/config' }, 'none'],
    [{ kubeconfig: '/a', context: 'prod', namespaces: ['shop', 'blog'] }, 'none'],
    [{ inCluster: true, allNamespaces: true }, 'none'],
    [{ ...server, ca: '/ca.pem', impersonate: 'actor', impersonateGroup: 'oncall' }, 'none'],
    [{ ...server, impersonate: 'actor', impersonateGroup: ['oncall', 'a, b'] }, 'none'],
    [{ ...server, impersonate: 'actor', impersonateGroup: [] }, 'impersonateGroup'],
    [{ ...server, impersonate: 'actor', impersonateGroup: ['a\r\nb'] }, 'the name of a group'],
    [{ ...server, ca: { env: 'TOKEN' } }, 'none'],
    [{}, 'exactly one of kubeconfig:, inCluster: true, or server:'],
    [{ kubeconfig: '/a', inCluster: true }, 'exactly one of'],
    [{ server: 'https://kube.example.com' }, 'token'],
    [{ server: 'https://user:pw@kube.example.com', token: { env: 'TOKEN' } }, 'no user'],
    [{ server: 'kube.example.com', token: { env: 'TOKEN' } }, 'an http(s) URL'],
    [{ ...server, token: 'in-the-file' }, 'secrets never stand in the file'],
    [{ kubeconfig: '/a', insecureSkipVerify: true }, 'a kubeconfig says it itself'],
    [{ ...server, insecureSkipVerify: false }, 'insecureSkipVerify'],
    [{ inCluster: true, context: 'x' }, 'only with kubeconfig'],
    [{ ...server, namespaces: ['a'], allNamespaces: true }, 'not both'],
    [{ ...server, namespaces: ['Shop!'] }, 'the name of a namespace'],
    [{ ...server, impersonateGroup: 'x' }, 'only with impersonate: actor'],
    [{ ...server, verify: false }, 'unknown key verify'],
  ])('%j: %s', (entry, words) => {
    expect(mistakes(entry)).toContain(words)
  })
})

describe('check', () => {
  const linesOf = async (peer: KubernetesPeer, who: string, settings: Partial<KubernetesSettings> = {}) =>
    backendWith({ server: peer.url, token: new Secret(tokenOf(who)), namespaces: ['shop'], ...settings }).check(soon())

  test('S40 a missing create on pods/exec fails where it is asked for, and warns before; the Role to apply is printed', async () => {
    for (const [minor, ok] of [
      [20, 'warn'],
      [35, false],
    ] as const) {
      const peer = await peerWith({ pods: POD, minor })
      const line = (await linesOf(peer, 'get-only-user')).find(({ what }) => what.includes('create pods/exec'))
      expect(line?.ok).toBe(ok)
      expect(line?.next).toContain(roleYaml(execRights, ['shop'], subjectOf(undefined)))
    }
  })

  test('the Roles of examples/kubernetes are the ones that check prints', () => {
    const file = (name: string) => readFileSync(join(import.meta.dirname, '../../examples/kubernetes', name), 'utf8')
    const example = (name: string) => file(name).replace(/^(#.*\n)+/, '')
    const account = subjectOf('system:serviceaccount:drover:drover')
    expect(example('role.yaml')).toBe(roleYaml(execRights, ['shop'], account))
    expect(example('cluster-role.yaml')).toBe(roleYaml(execRights, 'all', account))
    expect(example('role-rollouts.yaml')).toBe(roleYaml([...execRights, ...rolloutRights], ['shop'], account))
  })

  test('S40 a missing get on pods/exec fails on every version', async () => {
    const peer = await peerWith({ pods: POD, minor: 20 })
    const [bad] = (await linesOf(peer, 'create-only-user')).filter(({ ok }) => ok === false)
    expect(bad?.what).toContain('may not get pods/exec in namespace shop')
  })

  test('S31 plain http and a certificate that is not verified are warned about', async () => {
    const peer = await peerWith({ pods: POD })
    const warnings = (await linesOf(peer, 'exec-user', { insecureSkipVerify: true }))
      .filter(({ ok }) => ok === 'warn')
      .map(({ what }) => what)
    expect(warnings).toEqual(['the connection is not encrypted', 'the server’s certificate is not verified'])
  })

  test('a token that is refused, one that has expired and a server that is not there are told', async () => {
    const peer = await peerWith({ pods: POD })
    expect((await linesOf(peer, 'nobody')).find(({ ok }) => ok === false)?.what).toContain('does not accept the credentials')
    const over = `${btoa('{}')}.${btoa(JSON.stringify({ exp: 1 }))}.x`
    const lines = await backendWith({ server: peer.url, token: new Secret(over) }).check(soon())
    expect(lines.find(({ what }) => what.includes('has expired'))).toMatchObject({
      ok: false,
      detail: '1970-01-01T00:00:01.000Z',
    })
    const gone = await backendWith({ server: 'http://127.0.0.1:1', token: new Secret('0123456789') }).check(soon())
    expect(gone.find(({ ok }) => ok === false)?.what).toContain('connection refused')
  })
})

async function eventsOf(events: AsyncIterable<ExecEvent>): Promise<readonly ExecEvent[]> {
  const found: ExecEvent[] = []
  for await (const event of events) found.push(event)
  return found
}

async function listening(server: Server | ReturnType<typeof createHttpServer>): Promise<AddressInfo> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close()
  })
  return server.address() as AddressInfo
}

/** Credentials that change while drover runs, and service accounts: asked for, kept, asked for again, and never shown. */

import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import type { Machine } from '../../src/backends/machine.ts'
import { createRedactor } from '../../src/core/redact.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf } from '../contract/backend.ts'
import { peerWith, soon } from './kubernetes-cluster.ts'
import { backendWith, folder, kubeconfig, listening, machine, namesOf, POD, tokenOf } from './kubernetes-files.ts'

function script(dir: string, text: string, name = 'plugin'): string {
  const file = join(dir, name)
  writeFileSync(file, `#!/bin/sh\n${text}\n`)
  chmodSync(file, 0o755)
  return file
}

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

/** Every way to a real engine: TLS with a client certificate, ssh, contexts and the environment, and from Deno and workerd. */

import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { unstable_startWorker } from 'wrangler'
import { type DockerOptions, docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import type { Machine } from '../../src/backends/machine.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, runOn } from '../contract/backend.ts'
import type { Answer, Step } from './docker-probe.ts'
import { type Relay, startRelay } from './docker-relay.ts'
import { docker, dockerWorld, image, named, processesIn, socketPath } from './docker-world.ts'

const soon = () => AbortSignal.timeout(30_000)

describe('the ways to a Docker Engine', { timeout: 60_000 }, () => {
  const world = dockerWorld()
  const folder = mkdtempSync(join(tmpdir(), 'drover-docker-'))
  const at = (name: string) => join(folder, name)
  let name: string
  let plain: Relay
  let secure: Relay
  beforeAll(async () => {
    name = world.run('ways')
    plain = await startRelay(socketPath)
    certificates(folder)
    const read = (file: string) => readFileSync(at(file))
    secure = await startRelay(socketPath, {
      key: read('server.key'),
      cert: read('server.pem'),
      ca: read('ca.pem'),
      requestCert: true,
      rejectUnauthorized: true,
    })
  }, 60_000)
  afterAll(async () => {
    await plain.close()
    await secure.close()
    world.tearDown()
    rmSync(folder, { recursive: true })
  })

  const machineWith = (env: Record<string, string | undefined>): Machine => ({ ...nodeMachine(), env, home: folder })
  const by = (options: Omit<DockerOptions, 'name'>, env: Record<string, string | undefined> = {}) =>
    dockerBackend({ name: 'engine', ...options }, { transport: nodeTransport, machine: machineWith(env) })
  /** Both kinds of start: streamed, and upgraded with an end of stdin. */
  const works = async (options: Omit<DockerOptions, 'name'>, env: Record<string, string | undefined> = {}) => {
    const backend = by(options, env)
    const target = await named(backend, name)
    const command = { argv: ['/bin/sh', '-c', 'echo out; echo err >&2; exit 3'] } as const
    const { out, err, code } = await runOn(backend, target, command, soon())
    const fed = await runOn(backend, target, { argv: ['cat'], stdin: 'fed' }, soon())
    expect(`${out}${err}${code}${fed.out}${fed.code}`).toBe('out\nerr\n3fed0')
    return backend
  }
  const refusal = async (options: Omit<DockerOptions, 'name'>, env: Record<string, string | undefined> = {}) => {
    const error: unknown = await by(options, env)
      .list({}, soon())
      .catch((thrown: unknown) => thrown)
    const { code, message, next } = error as Record<string, string>
    return `${code}: ${message} ${next}`
  }

  test('tcp:// with TLS and a client certificate, from files', async () => {
    const tls = { ca: at('ca.pem'), cert: at('client.pem'), key: at('client.key') }
    await works({ host: `tcp://127.0.0.1:${secure.port}`, tls })
    await works({ host: `https://127.0.0.1:${secure.port}`, tls: { ...tls, ca: '~/ca.pem' } })
  })

  test('S31 TLS that goes wrong says what is missing: the certificate, the CA, the file, or TLS itself', async () => {
    const host = `tcp://127.0.0.1:${secure.port}`
    expect(await refusal({ host, tls: { ca: at('ca.pem') } })).toMatch(
      /backend_unauthorized: .*did not accept drover’s certificate.*tls.cert/,
    )
    const unknown = { cert: at('client.pem'), key: at('client.key') }
    expect(await refusal({ host, tls: unknown })).toMatch(/backend_unavailable: The TLS connection .*tls.ca/)
    expect(await refusal({ host, tls: { ca: at('none.pem') } })).toMatch(/config: There is no file .*none.pem \(tls.ca\)/)
    expect(await refusal({ host })).toMatch(/config: host: this is not encrypted, and whoever can reach it owns that host/)
    expect(await refusal({ host, plaintext: true })).toMatch(/backend_unavailable/)
  })

  test('plain tcp:// only where it is said, and check warns of it', async () => {
    const backend = await works({ host: `tcp://127.0.0.1:${plain.port}`, plaintext: true })
    expect((await backend.check(soon())).filter(({ ok }) => ok === 'warn')).toMatchObject([
      { next: expect.stringContaining('owns that host') },
    ])
  })

  test('ssh://, by what the ssh client runs at the far side; BatchMode and nothing of drover’s environment', async () => {
    mkdirSync(at('bin'))
    const seen = at('ssh-seen')
    // Does what ssh does, without a network: what stands behind the host is run there.
    const script = `#!/bin/sh\necho "$* canary=$DROVER_CANARY" >${seen}\nwhile [ "$1" != -- ]; do shift; done\nshift; [ "$1" = no-such-host ] && { echo "ssh: Could not resolve hostname no-such-host" >&2; exit 255; }\nshift\nDOCKER_HOST=unix://${socketPath} exec "$@"\n`
    writeFileSync(at('bin/ssh'), script)
    chmodSync(at('bin/ssh'), 0o755)
    const env = { PATH: `${at('bin')}:${process.env.PATH}`, HOME: folder, DROVER_CANARY: 'secret' }
    await works({ host: 'ssh://ops@10.0.0.1:2222' }, env)
    expect(readFileSync(seen, 'utf8')).toBe(
      '-o BatchMode=yes -o ConnectTimeout=30 -T -l ops -p 2222 -- 10.0.0.1 docker system dial-stdio canary=\n',
    )
    expect(await refusal({ host: 'ssh://no-such-host' }, env)).toMatch(
      /backend_unavailable: .*Could not resolve hostname no-such-host/,
    )
    expect(await refusal({ host: 'ssh://10.0.0.1' }, { PATH: '/nonexistent' })).toMatch(/ssh cannot be started/)
  })

  test('contexts as the docker client made them, with their certificates', async () => {
    const config = at('docker-config')
    const client = (...args: string[]) =>
      execFileSync('docker', ['--config', config, ...args], { encoding: 'utf8', stdio: 'pipe' })
    const endpoint = `host=tcp://127.0.0.1:${secure.port},ca=${at('ca.pem')},cert=${at('client.pem')},key=${at('client.key')}`
    client('context', 'create', 'far', '--docker', endpoint)
    client('context', 'create', 'near', '--docker', `host=unix://${socketPath}`)
    client('context', 'create', 'lax', '--docker', `host=tcp://127.0.0.1:${secure.port},skip-tls-verify=true`)
    const env = { DOCKER_CONFIG: config }
    await works({ context: 'far' }, env)
    await works({ context: 'near' }, env)
    expect(await refusal({ context: 'lax' }, env)).toMatch(/config: The context lax does not verify/)
    expect(await refusal({ context: 'none' }, env)).toMatch(/config: There is no context none/)
    expect(await refusal({ fromEnvironment: true }, { ...env, DOCKER_CONTEXT: 'none' })).toMatch(/There is no context none/)
    await works({ fromEnvironment: true }, { ...env, DOCKER_CONTEXT: 'far' })
    client('context', 'use', 'near')
    await works({ fromEnvironment: true }, env)
    // DOCKER_HOST goes before them all.
    const closed = await refusal(
      { fromEnvironment: true },
      { ...env, DOCKER_HOST: `unix://${at('no.sock')}`, DOCKER_CONTEXT: 'far' },
    )
    expect(closed).toMatch(/There is no socket at unix:.*no.sock/)
  })

  test('the environment as the docker client reads it', async () => {
    execFileSync('sh', [
      '-c',
      `mkdir -p "$1/certs" && cp "$1/ca.pem" "$1/certs/" && cp "$1/client.pem" "$1/certs/cert.pem" && cp "$1/client.key" "$1/certs/key.pem"`,
      'sh',
      folder,
    ])
    const env = { DOCKER_HOST: `tcp://127.0.0.1:${secure.port}`, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: at('certs') }
    await works({ fromEnvironment: true }, env)
    expect(await refusal({ fromEnvironment: true }, { ...env, DOCKER_TLS_VERIFY: '' })).toMatch(
      /config: DOCKER_HOST: this is not encrypted/,
    )
    expect(await refusal({ fromEnvironment: true }, { DOCKER_HOST: env.DOCKER_HOST, DOCKER_TLS: '1' })).toMatch(
      /config: DOCKER_TLS without/,
    )
  })

  test('what is no Docker Engine, or forbids, is told as such', async () => {
    expect(await failureOf(by({ host: 'tcp://127.0.0.1:1', plaintext: true }).list({}, soon()))).toMatchObject({
      code: 'backend_unavailable',
      ran: 'no',
    })
  })

  describe.each(['Deno', 'workerd'])('on %s', (runtime) => {
    let ask: (step: Omit<Step, 'name' | 'host'>) => Promise<Answer>
    let close: () => Promise<unknown>
    beforeAll(async () => {
      const whole = (step: object) => JSON.stringify({ host: `tcp://127.0.0.1:${plain.port}`, name, ...step })
      if (runtime === 'Deno') {
        const deno = fileURLToPath(new URL('../../node_modules/.bin/deno', import.meta.url))
        const allowed = ['--allow-net=127.0.0.1', '--allow-read', '--allow-env', '--allow-sys', '--allow-run']
        const program = fileURLToPath(new URL('docker-deno.ts', import.meta.url))
        const child = spawn(deno, ['run', '--quiet', '--no-lock', ...allowed, program], { stdio: ['pipe', 'pipe', 'inherit'] })
        const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
        ask = async (step) => {
          child.stdin.write(`${whole(step)}\n`)
          return JSON.parse((await lines.next()).value as string) as Answer
        }
        close = () =>
          new Promise((resolve) => {
            child.once('exit', resolve)
            child.stdin.end()
          })
        return
      }
      process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'
      const worker = await unstable_startWorker({
        config: fileURLToPath(new URL('docker-worker.toml', import.meta.url)),
        dev: { server: { hostname: '127.0.0.1', port: 0 }, inspector: false, logLevel: 'none', watch: false },
      })
      await worker.ready
      const url = await worker.url
      ask = async (step) => (await (await fetch(url, { method: 'POST', body: whole(step) })).json()) as Answer
      close = () => worker.dispose()
    }, 60_000)
    afterAll(() => close())

    test('both streams, the exit code, environment, directory and user', async () => {
      const text = 'echo "$A $(pwd) $(id -u)"; echo err >&2; exit 3'
      const command = { argv: ['/bin/sh', '-c', text], env: { A: 'é' }, dir: '/tmp', user: 'nobody' } as const
      expect(await ask({ command })).toMatchObject({ stdout: 'é /tmp 65534\n', stderr: 'err\n', code: 3 })
    })

    test('1 MiB arrives whole', async () => {
      const { stdout, code } = await ask({ command: { argv: ['/bin/sh', '-c', 'yes 0123456789abcde | head -c 1048576'] } })
      expect([String(stdout).length, code]).toEqual([1_048_576, 0])
    })

    test('stdin is fed to its end, or refused in words', async () => {
      const answer = await ask({ command: { argv: ['cat'], stdin: 'fed' } })
      if (runtime === 'Deno') expect(answer).toMatchObject({ stdout: 'fed', code: 0, stdin: true })
      else expect(answer).toMatchObject({ code: 'unsupported', ran: 'no', message: expect.stringContaining('raw connection') })
    })

    test('[gone-is-gone] S42 a kill ends it all', async () => {
      const answer = await ask({
        command: { argv: ['/bin/sh', '-c', 'echo go; setsid sleep 654321 & sleep 654321'] },
        killAfterMs: 300,
      })
      expect(answer).toMatchObject({ killed: { result: 'gone' } })
      expect(processesIn(name, 'sleep 654321')).toEqual([])
    })

    test('a command in a new container', async () => {
      const command = { argv: ['/bin/sh', '-c', 'echo out; echo err >&2; exit 3'] } as const
      expect(await ask({ command, image })).toMatchObject({ stdout: 'out\n', stderr: 'err\n', code: 3 })
      const ended = await ask({ command: { argv: ['/bin/sh', '-c', 'echo go; sleep 654322'] }, image, killAfterMs: 500 })
      expect(ended.killed).toEqual({ result: 'gone' })
    })

    test('a failed start is told as such', async () => {
      expect(await ask({ command: { argv: ['no-such'] } })).toMatchObject({ code: 'command_not_found', ran: 'no' })
    })
  })

  test('no helper and no process of a test is left', () => {
    expect(docker('ps', '-aq', '--filter', 'label=drover.helper')).toBe('')
  })
})

/** A CA, a server certificate for 127.0.0.1, and a client's. */
function certificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=test ca', '-keyout', 'ca.key', '-out', 'ca.pem')
  for (const [who, extension] of [
    ['server', 'subjectAltName=IP:127.0.0.1'],
    ['client', 'extendedKeyUsage=clientAuth'],
  ] as const) {
    openssl('req', ...key, '-subj', `/CN=${who}`, '-keyout', `${who}.key`, '-out', `${who}.csr`)
    writeFileSync(join(folder, `${who}.ext`), extension)
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${who}.ext`]
    openssl('x509', '-req', '-in', `${who}.csr`, ...signed, '-out', `${who}.pem`)
  }
}

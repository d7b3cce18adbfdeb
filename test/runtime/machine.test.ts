/** The machine below drover, and what a transport may be asked to reach. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'

const folder = mkdtempSync(join(tmpdir(), 'drover-machine-'))
afterAll(() => rmSync(folder, { recursive: true }))

const machine = nodeMachine()
const soon = () => AbortSignal.timeout(10_000)
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error: { code?: string }) => error.code,
  )

it('tells a missing file from its text', async () => {
  writeFileSync(join(folder, 'token'), 'abc\n')
  expect(await machine.readText(join(folder, 'token'))).toBe('abc\n')
  expect(await machine.readText(join(folder, 'nothing', 'here'))).toBeUndefined()
})

it('a file too large to be a configuration is refused', async () => {
  writeFileSync(join(folder, 'large'), 'x'.repeat(4 * 1024 * 1024 + 1))
  expect(await codeOf(machine.readText(join(folder, 'large')))).toBe('config')
})

it('S08 a program gets its arguments untouched by any shell, and its code and both streams come back', async () => {
  const script = 'echo "$1"; echo err >&2; exit 3'
  const ran = await machine.run(['/bin/sh', '-c', script, 'sh', '$(id) `id` ; x'], { env: {}, signal: soon() })
  expect(ran).toEqual({ code: 3, stdout: '$(id) `id` ; x\n', stderr: 'err\n' })
})

it('S46 a program gets the environment it is given and nothing of drover’s own', async () => {
  process.env.DROVER_CANARY = 'secret-of-the-gateway'
  const { stdout } = await machine.run(['/usr/bin/env'], { env: { ONE: '1' }, signal: soon() })
  expect(stdout).toBe('ONE=1\n')
})

it('a program reads what is given to it, then the end', async () => {
  expect(await machine.run(['/bin/cat'], { env: {}, signal: soon(), stdin: 'hello' })).toMatchObject({ stdout: 'hello' })
})

it('[bounded] a program that is not there, does not end, or writes without end is an error', async () => {
  expect(await codeOf(machine.run(['/nonexistent/program'], { env: {}, signal: soon() }))).toBe('config')
  expect(await codeOf(machine.run(['/bin/sleep', '100'], { env: {}, signal: AbortSignal.timeout(100) }))).toBe('timeout')
  expect(await codeOf(machine.run(['/bin/cat', '/dev/zero'], { env: {}, signal: soon() }))).toBe('config')
})

it('a transport reaches a server on a unix socket', async () => {
  const path = join(folder, 'engine.sock')
  const server = createServer((request, response) => response.end(`${request.url} at ${request.headers.host}`)).listen(path)
  try {
    const { http } = nodeTransport({ unixSocket: path })
    const answer = await http({ method: 'GET', url: 'http://engine.local/_ping', signal: soon() })
    expect(answer).toMatchObject({ status: 200, body: '/_ping at engine.local' })
  } finally {
    server.close()
  }
})

it.each([
  { ca: 'PEM' },
  { certificate: { cert: 'a', key: 'b' } },
  { insecure: true },
  { unixSocket: '/x' },
  { serverName: 'x' },
  { program: { argv: ['x'] as const, env: {} } },
])('S31 Workers refuses at start-up what it cannot do: %o', (reach) => {
  expect(() => workerTransport(reach)).toThrow(/does not work on Workers/)
})

const overProgram = (script: string, ...args: string[]) =>
  nodeTransport({ program: { argv: ['/bin/sh', '-c', script, 'sh', ...args], env: {} } })

it('S08 S46 a program can be the connection: one process for each request, upgrades too, with its own environment only', async () => {
  const path = join(folder, 'piped.sock')
  const server = createServer((_, response) => response.end('hello'))
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
    socket.on('data', (data) => socket.end(`got ${data}`))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  try {
    const relay = `exec ${process.execPath} -e 'process.env.DROVER_CANARY && process.exit(1);
      const s = require("net").connect({ path: process.argv[1], allowHalfOpen: true }); process.stdin.pipe(s).pipe(process.stdout); s.on("end", () => process.exit())' "$1"`
    const transport = overProgram(relay, path)
    process.env.DROVER_CANARY = 'secret-of-the-gateway'
    expect(await transport.http({ method: 'GET', url: 'http://engine/', signal: soon() })).toMatchObject({ body: 'hello' })
    const raw = await transport.upgrade!({ method: 'POST', url: 'http://engine/x', protocol: 'tcp', signal: soon() })
    await raw.write(new TextEncoder().encode('ping'))
    let said = ''
    for await (const piece of raw.incoming) said += new TextDecoder().decode(piece)
    expect(said).toBe('got ping')
  } finally {
    delete process.env.DROVER_CANARY
    server.close()
  }
})

it('a program that fails as a connection is told with its last words, one that hangs is ended with its deadline', async () => {
  const ask = (script: string, signal = soon()) =>
    overProgram(script)
      .http({ method: 'GET', url: 'http://engine/', signal })
      .catch((error: Error) => `${error.name} ${error.message}`)
  expect(await ask('echo "no route to host" >&2; exit 255')).toBe('TransportError /bin/sh ended with code 255: no route to host')
  expect(await ask('exec sleep 623', AbortSignal.timeout(200))).toMatch(/TransportError .*deadline/)
  const missing = nodeTransport({ program: { argv: ['/nonexistent'], env: {} } })
  await expect(missing.http({ method: 'GET', url: 'http://engine/', signal: soon() })).rejects.toThrow(
    'cannot be started (ENOENT)',
  )
})

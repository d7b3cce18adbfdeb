import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { howEnded } from '../../src/backends/kubernetes/channels.ts'
import { startFailure, toldAsExit } from '../../src/backends/kubernetes/start-failure.ts'
import { markerParser } from '../../src/backends/kubernetes/wrapper.ts'
import type { BackendError } from '../../src/core/errors.ts'
import type { Command, ExecEvent } from '../../src/core/model.ts'
import type { KubernetesPeerOptions } from '../../src/playground/kubernetes/peer.ts'
import { begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'
import { localProcesses } from '../peers/local-processes.ts'
import { backendOn, peerWith, soon } from './kubernetes-cluster.ts'

type Options = NonNullable<Parameters<typeof backendOn>[1]>
const PODS = [
  { namespace: 'shop', name: 'web-1' },
  { namespace: 'shop', name: 'bare-1', containers: [{ name: 'app', shell: false }] },
]

/** A cluster whose containers are processes of this machine, and its pods as targets. */
async function clusterWith(peerOptions: KubernetesPeerOptions = {}, options: Options = {}) {
  const engine = processEngine()
  const peer = await peerWith({ engine, pods: PODS, ...peerOptions })
  const backend = backendOn(peer, options)
  const all = await backend.list({}, soon())
  const named = (name: string) => all.find((one) => one.name === name)!
  return { peer, engine, backend, web: named('web-1'), bare: named('bare-1') }
}

const sh = (text: string): Command => ({ argv: ['/bin/sh', '-c', text] })
const versions = [20, 32]

describe('how a command ended', () => {
  test.each(versions)('[true-ending] S41 a close without a status is unknown, however politely it came (1.%i)', async (minor) => {
    const { peer, backend, web } = await clusterWith({ minor })
    peer.faults.closeAfterBytes = 60
    const error = await failureOf(runOn(backend, web, sh('echo something of a length that counts; exit 0')))
    expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
    expect(error.message).toContain('close 1000')
  })

  test('what ends before the command began did not run', async () => {
    const { peer, backend, web } = await clusterWith()
    peer.faults.dropAfterBytes = 0
    const error = await failureOf(runOn(backend, web, sh('echo ran')))
    expect([error.code, error.ran]).toEqual(['stream_broken', 'no'])
  })

  test.each(versions)(
    '[true-ending] S41 kubernetes#73056 a node that is lost is unknown, also where the server tells success (1.%i)',
    async (minor) => {
      const { peer, backend, web } = await clusterWith({ minor })
      peer.faults.loseKubeletAfterBytes = 60
      const error = await failureOf(runOn(backend, web, sh('echo something of a length that counts; exit 0')))
      expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
    },
  )

  test.each<[string, ReturnType<typeof howEnded>]>([
    ['{"metadata":{},"status":"Success"}', { type: 'exited', code: 0 }],
    // What newer runtimes leave out.
    [
      '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"137"}]}}',
      { type: 'exited', code: 137 },
    ],
    // v4 quotes the command, and a command may quote anything.
    [
      '{"status":"Failure","message":"error executing command [echo exit code 0], exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"message":"0"},{"reason":"ExitCode","message":"7"}]}}',
      { type: 'exited', code: 7 },
    ],
    [
      '{"status":"Failure","message":"Internal error occurred: x","reason":"InternalError","code":500}',
      { type: 'failed', message: 'Internal error occurred: x' },
    ],
  ])('%s', (text, how) => {
    expect(howEnded(text)).toEqual(how)
  })

  test.each([
    '',
    'command terminated',
    '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[]}}',
    '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"-1"}]}}',
  ])('[true-ending] %j is no ending', (text) => {
    expect(() => howEnded(text)).toThrow(expect.objectContaining({ code: 'backend_protocol', ran: 'maybe' }))
  })
})

describe('the begin', () => {
  test('[gone-is-gone] S42 what was given up while it opened never begins, not even when the kubelet is late', async () => {
    const { peer, engine, backend, web } = await clusterWith()
    peer.faults.stallStart = true
    const mark = `${700_000 + Math.floor(Math.random() * 99_999)}`
    const connection = new AbortController()
    const exec = newExec()
    const events = backend.exec(web, { argv: ['sleep', mark] }, exec, connection.signal)[Symbol.asyncIterator]()
    // Whoever opens connections need not wait for a node.
    expect((await events.next()).value).toEqual({ type: 'connected' })
    const first = events.next().catch((error: unknown) => error)
    await expect.poll(() => peer.seen.execs.length).toBe(1)
    connection.abort()
    expect(((await first) as BackendError).ran).toBe('no')
    peer.faults.stallStart = false
    expect(await backend.kill(web, { target: web.id, exec }, soon())).toEqual({ result: 'gone' })
    await expect.poll(() => engine.pids()).toEqual([])
    expect(localProcesses(`sleep ${mark}`)).toEqual([])
  })

  test('[bounded] a container that is not ready in time is given up, and nothing has run', async () => {
    const { peer, backend, web } = await clusterWith({}, { startTimeoutMs: 200 })
    peer.faults.stallStart = true
    const error = await failureOf(runOn(backend, web, sh('true')))
    expect([error.code, error.ran]).toEqual(['timeout', 'no'])
  })

  test('what comes before and after a marker is kept whole, in whatever pieces, and the marker is not', () => {
    const name = newExec()
    const text = (parts: readonly Uint8Array[]) => new TextDecoder().decode(Buffer.concat(parts))
    const all = Buffer.from(`sh: warning: setlocale\n\x1e\x1e${name.slice(0, 9)}\x1e${name} p4711\nerr\x1e`)
    for (let cut = 0; cut <= all.length; cut += 1) {
      const parser = markerParser(name)
      const [first, second] = [parser.write(all.subarray(0, cut)), parser.write(all.subarray(cut))]
      expect([first.marker, second.marker].filter(Boolean)).toEqual([{ type: 'p', number: 4711 }])
      const rest = parser.end()
      const [before, after] = first.marker
        ? [[first.before], [first.after, second.before, second.after, rest]]
        : [
            [first.before, second.before],
            [second.after, rest],
          ]
      expect([text(before), text(after)]).toEqual([`sh: warning: setlocale\n\x1e\x1e${name.slice(0, 9)}`, 'err\x1e'])
    }
  })

  test('[true-ending] a marker that a command writes is output, and no ending', async () => {
    const { backend, web } = await clusterWith()
    const ran = await runOn(backend, web, sh('printf "\\036$DROVER_EXEC x0\\n" >&2; printf "\\036x" >&2; echo on; exit 4'))
    expect(`${ran.err}`).toMatch(/^\x1e[0-9a-f]{32} x0\n\x1ex$/)
    expect([`${ran.out}`, ran.code]).toEqual(['on\n', 4])
  })

  test('S46 the nonce is in no environment, no command line and no open file of the command', async () => {
    const { peer, backend, web } = await clusterWith()
    const look =
      'for p in $$ $PPID; do tr "\\0" "\\n" </proc/$p/environ; tr "\\0" " " </proc/$p/cmdline; done; ls -l /proc/self/fd; set; cat'
    const ran = await runOn(backend, web, sh(look))
    const [nonce] = peer.seen.lines
    expect(nonce).toMatch(/^[0-9a-f]{32}$/)
    expect(`${ran.out}${ran.err}`).not.toContain(nonce)
    expect(ran.code).toBe(0)
  })

  test('output comes after started, and none is lost', async () => {
    const { backend, web } = await clusterWith()
    const ran = await runOn(backend, web, sh('yes 0123456789 | head -c 900000'))
    expect(ran.events.slice(0, 2).map(({ type }) => type)).toEqual(['connected', 'started'])
    expect([ran.out.length, ran.code]).toEqual([900_000, 0])
  })
})

describe('a pod by the name of another', () => {
  test('S21 is not the one that was listed; the same pod with its container started again is', async () => {
    const { peer, backend, web } = await clusterWith()
    expect(await backend.isStill?.(web, soon())).toBe(true)
    await peer.world.restart('shop', 'web-1')
    expect(await backend.isStill?.(web, soon())).toBe(true)
    await peer.world.remove('shop', 'web-1')
    const error = await failureOf(Promise.resolve(backend.isStill?.(web, soon())))
    expect([error.code, error.ran]).toEqual(['backend_not_found', 'no'])
    await peer.world.add([{ namespace: 'shop', name: 'web-1' }])
    expect(await backend.isStill?.(web, soon())).toBe(false)
  })
})

describe('what Kubernetes says instead of an upgrade', () => {
  test('RBAC’s 403 and the empty 403 of an unknown protocol are told apart', async () => {
    const { peer, web } = await clusterWith()
    const forbidden = await failureOf(runOn(backendOn(peer, { who: 'create-only-user' }), web, sh('true')))
    expect([forbidden.code, forbidden.ran]).toEqual(['backend_forbidden', 'no'])
    expect(forbidden.message).toContain('cannot get resource "pods/exec"')
    peer.faults.http.push({ match: '/exec', status: 403, body: '' })
    const unknown = await failureOf(runOn(backendOn(peer), web, sh('true')))
    expect([unknown.code, unknown.ran]).toEqual(['backend_protocol', 'no'])
    expect(peer.seen.execs).toEqual([])
  })

  test('S40 from 1.35 on `get` alone is refused, and before that it was enough', async () => {
    for (const [minor, code] of [
      [34, undefined],
      [35, 'backend_forbidden'],
    ] as const) {
      const { peer, web } = await clusterWith({ minor })
      const outcome = await runOn(backendOn(peer, { who: 'get-only-user' }), web, sh('true')).catch(
        (error: BackendError) => error,
      )
      expect('ran' in outcome ? outcome.code : undefined).toBe(code)
    }
  })

  test('a pod that is gone is told as such', async () => {
    const { peer, backend, web } = await clusterWith()
    await peer.world.remove('shop', 'web-1')
    const error = await failureOf(runOn(backend, web, sh('true')))
    expect([error.code, error.ran]).toEqual(['backend_not_found', 'no'])
  })

  test('a container that is not there any more is told with Kubernetes’ words', async () => {
    const { backend, web } = await clusterWith()
    const error = await failureOf(runOn(backend, { ...web, native: 'shop/web-1/nope' }, sh('true')))
    expect(error.message).toContain('container nope is not valid for pod web-1')
  })

  test.each(['../../secrets', 'shop/web-1', 'shop/web-1/app/exec', 'shop/%2e%2e/app'])(
    'the id %j goes nowhere',
    async (native) => {
      const { peer, backend, web } = await clusterWith()
      peer.seen.requests.length = 0
      expect((await failureOf(runOn(backend, { ...web, native }, sh('true')))).code).toBe('backend_protocol')
      expect(peer.seen.requests).toEqual([])
    },
  )

  test('a gateway that gives up waiting leaves open whether it ran, unless the wrapper never got its line', async () => {
    const { peer, backend, web, bare } = await clusterWith()
    peer.faults.http.push({ match: '/exec', status: 504, body: '<html>gateway timeout</html>' })
    expect((await failureOf(runOn(backend, web, sh('true')))).ran).toBe('no')
    // The first is the wrapper's, refused for want of a shell.
    peer.faults.http.push({ match: 'container=app&command=noshell', status: 504, body: '<html>gateway timeout</html>' })
    expect((await failureOf(runOn(backend, bare, { argv: ['noshell'] }))).ran).toBe('maybe')
  })

  test('a proxy that takes the upgrade out is told with the remedy', async () => {
    const { peer, backend, web } = await clusterWith()
    peer.faults.http.push({ match: '/exec', status: 400, body: { kind: 'Status', message: 'Upgrade request required' } })
    expect((await failureOf(runOn(backend, web, sh('true')))).next).toContain('websockets')
  })

  test('another protocol than those that were offered is not spoken', async () => {
    const { peer, backend, web } = await clusterWith()
    peer.faults.protocol = 'channel.k8s.io'
    expect((await failureOf(runOn(backend, web, sh('echo ran')))).ran).toBe('no')
  })
})

describe('words of kubelets and runtimes', () => {
  test.each([
    // containerd, recorded
    [
      'Internal error occurred: error executing command in container: failed to exec in container: failed to start exec "a": OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown',
      'not-found',
    ],
    // CRI-O with crun
    [
      'error executing command in container: executable file `/bin/sh` not found in $PATH: No such file or directory',
      'not-found',
    ],
    [
      'exec failed: container_linux.go:380: starting container process caused: exec: "/bin/sh": permission denied: unknown',
      'not-found',
    ],
    ['Internal error occurred: unable to upgrade connection: container not found ("app")', 'not_running'],
    ['pod does not exist', 'not_running'],
    ['cannot exec in a stopped state: unknown', 'not_running'],
    [
      'Internal error occurred: error dialing backend: dial tcp 10.0.0.9:10250: connect: connection refused',
      'backend_unavailable',
    ],
    ['exec /bin/sh: argument list too long', 'unsupported'],
    ['OCI runtime exec failed: exec failed: cgroup is full: unknown', 'backend_unavailable'],
    // What proves nothing.
    ['Internal error occurred: error reading from error stream: EOF', undefined],
    ['context deadline exceeded', undefined],
    ['exec: "/usr/bin/other": no such file or directory', undefined],
  ])('%s', (text, meaning) => {
    const found = startFailure(text, '/bin/sh')
    expect(found?.type === 'error' ? found.error.code : found?.type).toBe(meaning)
    if (found?.type === 'error') expect(found.error.ran).toBe('no')
  })

  test('cri-dockerd’s exit 126 with the engine’s words is a start that failed; a command’s own is not', () => {
    const text =
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown\r\n'
    expect(toldAsExit(126, text, '/bin/sh')).toEqual({ type: 'not-found' })
    expect(toldAsExit(1, text, '/bin/sh')).toBeUndefined()
    expect(toldAsExit(127, 'sh: nope: not found\n', '/bin/sh')).toBeUndefined()
  })
})

describe('stdin', () => {
  const big = 'x'.repeat(1_500_000)
  test.each(versions)('1.5 MB arrive whole and have an end (1.%i)', async (minor) => {
    const { backend, web } = await clusterWith({ minor })
    const ran = await runOn(backend, web, { argv: ['sha256sum'], stdin: big })
    expect(`${ran.out}`).toContain(createHash('sha256').update(big).digest('hex'))
    const empty = await runOn(backend, web, { argv: ['cat'], stdin: '' })
    expect([empty.out.length, empty.code]).toEqual([0, 0])
  })

  test.each(versions)('a command that does not read it ends all the same (1.%i)', async (minor) => {
    const { backend, web } = await clusterWith({ minor })
    expect((await runOn(backend, web, { ...sh('exit 7'), stdin: big })).code).toBe(7)
  })

  test('without a shell its end can be told on v5, and on v4 it is refused before anything runs', async () => {
    const { backend, bare } = await clusterWith({ minor: 32 })
    const fed = await runOn(backend, bare, { argv: ['cat'], stdin: 'a\nb' })
    // Success on v5 proves nothing where nobody inside tells the exit code.
    expect([`${fed.out}`, fed.code, fed.unknown]).toEqual(['a\nb', undefined, true])
    expect((await runOn(backend, bare, { argv: ['grep', 'x'], stdin: 'a\nb' })).code).toBe(1)
    const old = await clusterWith({ minor: 20 })
    old.peer.faults.http.push({ match: 'container=app&command=cat', status: 403, body: '' })
    const error = await failureOf(runOn(old.backend, old.bare, { argv: ['cat'], stdin: 'a' }))
    expect([error.code, error.ran]).toEqual(['unsupported', 'no'])
  })
})

describe('a container without a shell', () => {
  test.each(versions)(
    'the command runs once, bare, with its streams and exit code, and cannot be ended (1.%i)',
    async (minor) => {
      const { peer, backend, bare } = await clusterWith({ minor })
      const ran = await runOn(backend, bare, { argv: ['ls', '/no/such/file'] })
      expect([ran.out.length, ran.code]).toEqual([0, 2])
      expect(`${ran.err}`).toContain('/no/such/file')
      expect(peer.seen.execs.map(({ argv }) => argv[0])).toEqual(['/bin/sh', 'ls'])
      expect(await backend.kill(bare, { target: bare.id, exec: newExec() }, soon())).toEqual({ result: 'left' })
    },
  )

  test('[true-ending] S41 what has written has begun: a container that dies in the middle leaves its command unknown, not unrun', async () => {
    const { peer, backend, bare } = await clusterWith()
    peer.faults.loseContainerAfterBytes = 4
    const error = await failureOf(runOn(backend, bare, { argv: ['echo', 'written'] }))
    expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
  })

  test('env= and dir= are refused there, before anything runs', async () => {
    const { backend, bare } = await clusterWith()
    for (const more of [{ env: { A: '1' } }, { dir: '/tmp' }])
      expect(await failureOf(runOn(backend, bare, { argv: ['pwd'], ...more }))).toMatchObject({ code: 'unsupported', ran: 'no' })
  })
})

describe('while it runs', () => {
  test('an idle connection is kept alive by messages, for pings do not reset a server’s idle limit', async () => {
    const { peer, backend, web } = await clusterWith({}, { keepAliveIntervalMs: 20 })
    const { connection, events } = await begin(backend, web, ['/bin/sh', '-c', 'echo go; exec sleep 3'])
    await expect.poll(() => peer.seen.emptyMessages).toBeGreaterThan(2)
    await expect.poll(() => peer.seen.pings).toBeGreaterThan(2)
    connection.abort()
    await events.next().catch(() => undefined)
    expect(peer.seen.resizes).toBe(0)
  })

  test('[true-ending] S41 a far side that no longer answers is a broken stream, not a wait for ever', async () => {
    const { peer, backend, web } = await clusterWith({}, { keepAliveIntervalMs: 50, startTimeoutMs: 600_000 })
    peer.faults.deaf = true
    const error = await failureOf(runOn(backend, web, sh('echo go; sleep 2')))
    expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
    expect(error.message).toContain('no longer answers')
  })

  test('[gone-is-gone] a container that was replaced took its processes with it', async () => {
    const { peer, backend, web } = await clusterWith()
    await peer.world.stop('shop', 'web-1')
    expect(await backend.kill(web, { target: web.id, exec: newExec() }, soon())).toEqual({ result: 'gone' })
    await peer.world.remove('shop', 'web-1')
    expect(await backend.kill(web, { target: web.id, exec: newExec() }, soon())).toEqual({ result: 'gone' })
  })
})

describe('what cannot be', () => {
  test.each<[Partial<Command>, string]>([
    [{ user: 'nobody' }, 'user'],
    [{ dir: 'srv' }, 'absolute'],
    [{ env: { 'A-B': '1' } }, '"A-B"'],
    [{ env: { DROVER_EXEC: '1' } }, 'DROVER_EXEC'],
    [{ argv: ['echo', 'a\0b'] }, 'NUL'],
    [{ tty: true, stdin: 'x' }, 'terminal'],
  ])('%j is refused before anything leaves', async (more, words) => {
    const { peer, backend, web } = await clusterWith()
    peer.seen.requests.length = 0
    const error = await failureOf(runOn(backend, web, { argv: ['true'], ...more }))
    expect([error.code, error.ran]).toEqual(['unsupported', 'no'])
    expect(error.message).toContain(words)
    expect(peer.seen.requests).toEqual([])
  })
})

test('on the playground’s simulated containers everything comes as on real ones', async () => {
  const peer = await peerWith({ pods: PODS })
  const backend = backendOn(peer)
  const [bare, web] = (await backend.list({}, soon())).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const ran = await runOn(backend, web!, sh('echo out; echo err >&2; exit 3'))
  expect([`${ran.out}`, `${ran.err}`, ran.code, ran.handle?.pid]).toEqual(['out\n', 'err\n', 3, expect.any(Number)])
  expect(`${(await runOn(backend, web!, { argv: ['cat'], stdin: 'a\nb' })).out}`).toBe('a\nb')
  expect(`${(await runOn(backend, web!, { argv: ['printenv', 'A'], env: { A: 'x y' } })).out}`).toBe('x y\n')
  expect((await failureOf(runOn(backend, web!, { argv: ['pwd'], dir: '/nope' }))).ran).toBe('no')
  expect((await runOn(backend, web!, { argv: ['drover-no-such-program'] })).code).toBe(127)
  expect(`${(await runOn(backend, bare!, { argv: ['/app', '--version'] })).out}`).toBe('app 4.2.0\n')
  const events: ExecEvent[] = []
  const exec = newExec()
  const running = (async () => {
    for await (const event of backend.exec(web!, { argv: ['sleep', '100'] }, exec, soon())) events.push(event)
  })()
  await expect.poll(() => events.at(-1)?.type).toBe('started')
  expect(await backend.kill(web!, { target: web!.id, exec }, soon())).toEqual({ result: 'gone' })
  await running
  expect(events.at(-1)).toEqual({ type: 'exit', code: 143 })
})

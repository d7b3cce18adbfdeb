/** What of the swarm backend needs no engine: its settings, what a task's state means, the client's words, and which way is taken. */

import { spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { handleText as dockerHandleText } from '../../src/backends/docker/handle.ts'
import { type SwarmOptions, swarm } from '../../src/backends/swarm/backend.ts'
import { clientArgs, clientFailure, mayBeRefusal } from '../../src/backends/swarm/client.ts'
import type { Task } from '../../src/backends/swarm/cluster.ts'
import { handleText, readHandle } from '../../src/backends/swarm/exec.ts'
import { standingOf } from '../../src/backends/swarm/states.ts'
import { parseConfig } from '../../src/config.ts'
import type { BackendError } from '../../src/core/errors.ts'
import type { Target, TargetId } from '../../src/core/model.ts'
import { createBackends } from '../../src/rooms.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { workerKinds } from '../../src/worker-kinds.ts'
import { failureOf, runOn } from '../contract/backend.ts'

const digest = `sha256:${'a'.repeat(64)}`
const container = 'c'.repeat(64)

describe('settings', () => {
  const parse = (entry: string) => parseConfig(`backends: { s: { kind: swarm, ${entry} } }`, 'drover.yaml', {})

  test.each([
    ['nodes: {}', /say exactly one of host:, context: or fromEnvironment/],
    ["host: 'tcp://h:2375'", /this is not encrypted, and whoever can reach it owns that host/],
    ["host: 'unix:///a', nodes: { n: { host: 'tcp://h:2375' } }", /backends.s.nodes.n.host: this is not encrypted/],
    ["host: 'unix:///a', nodes: { n: {} }", /say exactly one of host/],
    ["host: 'unix:///a', nodes: { '../n': { host: 'unix:///b' } }", /the id or the hostname of a node/],
    ["host: 'unix:///a', nodes: { n: { host: 'unix:///b', kind: docker } }", /unknown key kind/],
    ["host: 'unix:///a', temporaryService: { image: 'docker:27-cli' }", /name it by digest/],
    ["host: 'unix:///a', temporaryService: { image: 'docker' }", /name it by digest/],
    [`host: 'unix:///a', temporaryService: { image: 'docker@${digest.slice(0, -1)}' }`, /name it by digest/],
    [`host: 'unix:///a', temporaryService: { image: '${digest}', socket: docker.sock }`, /an absolute path/],
    [`host: 'unix:///a', temporaryService: true`, /temporaryService/],
  ])('S31 drover.yaml with %s is told what to write', (entry, said) => {
    expect(() => parse(entry)).toThrow(said)
  })

  test('[default-deny] no temporary service is allowed by saying nothing; by digest or by id it may be named', () => {
    const [plain, named, bare] = [
      parse("host: 'unix:///a'"),
      parse(`host: 'unix:///a', temporaryService: { image: 'registry.example.com:5000/tools/docker:27-cli@${digest}' }`),
      parse(`host: 'unix:///a', temporaryService: { image: '${digest}' }`),
    ].map(({ backends }) => backends.s)
    expect(plain).toMatchObject({ kind: 'swarm', host: 'unix:///a' })
    expect(plain).not.toHaveProperty('temporaryService')
    expect(named).toMatchObject({ temporaryService: { socket: '/var/run/docker.sock' } })
    expect(bare).toMatchObject({ temporaryService: { image: digest } })
  })

  test('on Workers a swarm is refused at start-up, with what to use instead', () => {
    const config = parse("host: 'https://h'")
    expect(() => createBackends(config, { transport: workerTransport, kinds: workerKinds })).toThrow(
      /swarm does not work on Workers/,
    )
  })
})

describe('the state of a task', () => {
  const task = (State: string, more: object = {}): Task => ({ ID: 't', Status: { State, ...more }, Spec: {} })
  const read = (one: Task) => {
    const standing = standingOf(one, 'n')
    if (standing.status !== 'failed') return { ...standing }
    return {
      status: standing.error.code,
      ran: standing.error.ran,
      next: standing.error.next !== undefined,
      said: standing.error.message,
    }
  }

  test.each(['new', 'allocated', 'pending', 'assigned', 'accepted', 'preparing', 'ready'])(
    'in %s nothing was started yet',
    (state) => {
      expect(read(task(state))).toEqual({ status: 'waiting', isTouched: false })
    },
  )

  test('[true-ending] only what the client passed on of the command is its exit code', () => {
    expect(read(task('starting'))).toEqual({ status: 'waiting', isTouched: true })
    expect(read(task('running'))).toEqual({ status: 'running' })
    expect(read(task('complete', { ContainerStatus: { ExitCode: 0 } }))).toEqual({ status: 'exited', code: 0 })
    expect(read(task('failed', { Err: 'task: non-zero exit (3)', ContainerStatus: { ExitCode: 3 } }))).toEqual({
      status: 'exited',
      code: 3,
    })
    for (const Err of ['', 'error while removing', 'starting container failed: x'])
      expect(read(task('failed', { Err, ContainerStatus: { ExitCode: 1 } })).status).toBe('backend_unavailable')
  })

  test.each([
    // Recorded from 20.10.
    [
      'rejected',
      'invalid mount config for type "bind": bind source path does not exist: /nope.sock',
      'config',
      'no',
      'no engine’s socket',
    ],
    ['rejected', `No such image: ${digest}`, 'config', 'no', 'is not on the node n'],
    [
      'failed',
      'starting container failed: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown',
      'config',
      'no',
      'no /bin/sh',
    ],
    ['rejected', 'something new', 'backend_unavailable', 'no', 'something new'],
    ['failed', 'something new', 'backend_unavailable', 'maybe', 'something new'],
    ['orphaned', '', 'stream_broken', 'maybe', 'orphaned'],
    ['shutdown', '', 'stream_broken', 'maybe', 'shutdown'],
    ['remove', '', 'stream_broken', 'maybe', 'remove'],
    ['a state of tomorrow', '', 'stream_broken', 'maybe', 'tomorrow'],
  ])('S41 %s with %j is told with what to do', (state, Err, code, ran, said) => {
    expect(read(task(state, { Err }))).toEqual({ status: code, ran, next: true, said: expect.stringContaining(said) })
  })
})

describe('the client’s words', () => {
  const about = { command: { argv: ['nosuch'] as const }, exec: 'e', name: 'web' }
  const told = (code: number, all: string | undefined, tail = '') => clientFailure({ code, all, tail }, about)
  test('[true-ending] S41 no exit code is the command’s when the client got a signal, whatever else was written; only this execution’s own word counts', () => {
    const signalled = 'some error\ndrover: signalled e\n'
    for (const code of [0, 137]) expect(told(code, undefined, signalled)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    expect(told(0, 'drover: signalled e\n', 'drover: signalled e\n')).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    expect(told(0, undefined, 'drover: signalled another\n')).toBeUndefined()
    expect(told(0, undefined, 'drover: signalled e\nand on\n')).toBeUndefined()
  })

  test('an image without a docker client is the configuration’s mistake, and nothing ran', () => {
    expect(told(127, 'drover: no docker e\n', 'drover: no docker e\n')).toMatchObject({ code: 'config', ran: 'no' })
    expect(told(127, 'drover: no docker other\n')).toBeUndefined()
  })

  const oci =
    'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown\r\n'

  test.each<[number, string, string, string]>([
    [126, oci, 'command_not_found', 'no'],
    [127, oci, 'command_not_found', 'no'],
    [126, 'unable to find user bob: no matching entries in passwd file\r\n', 'unsupported', 'no'],
    [1, `Error response from daemon: No such container: ${container}\n`, 'backend_not_found', 'no'],
    [1, `Error: No such container: ${container}\n`, 'backend_not_found', 'no'],
    [1, `Error response from daemon: Container ${container} is not running\n`, 'not_running', 'no'],
    [1, `Error response from daemon: container ${container} is not running\n`, 'not_running', 'no'],
    [1, `Error response from daemon: Container ${container} is paused, unpause the container before exec\n`, 'not_running', 'no'],
    [1, 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n', 'config', 'no'],
    [1, 'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock\n', 'config', 'no'],
  ])('exit %i with %j means that nothing ran', (code, all, expected, ran) => {
    expect(mayBeRefusal(all)).toBe(true)
    const failure = told(code, all)
    expect([failure?.code, failure?.ran]).toEqual([expected, ran])
  })

  test.each<[number, string | undefined]>([
    [0, oci],
    [3, oci],
    [126, 'OCI'],
    [126, ''],
    [126, undefined],
    [1, undefined],
    [2, `Error response from daemon: No such container: ${container}\n`],
    [1, 'Error response from daemon: No such container: web\n'],
    [1, 'Error: No such file\n'],
  ])('exit %i with %j is the command’s own', (code, all) => {
    expect(told(code, all)).toBeUndefined()
  })

  test('[true-ending] a container that went away under the command makes it unknown, wherever the client says so', () => {
    const gone = `Error response from daemon: No such exec instance: ${container}\n`
    expect(told(1, undefined, `some error\n${gone}`)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    expect(told(1, undefined, `${gone}more`)).toBeUndefined()
    expect(told(2, undefined, gone)).toBeUndefined()
  })

  test('only what may still become a refusal is held back', () => {
    for (const text of ['', 'E', 'Error', 'Error response from daemon: x\n', 'OCI run', 'drover: no b'])
      expect([text, mayBeRefusal(text)]).toEqual([text, true])
    for (const text of ['x', 'Errors', 'Error response from daemon: x\ny', 'drover: hello'])
      expect([text, mayBeRefusal(text)]).toEqual([text, false])
  })
})

describe('the command', () => {
  test('[exact-argv] its words stand unchanged behind the container, its options before it', () => {
    const argv = ['-x', '--', '{{.Node.ID}}', ''] as const
    expect(clientArgs({ argv, env: { A: 'b=c' }, dir: '/d', user: 'u:g', tty: true }, 'e', container)).toEqual([
      ...['-e', 'A=b=c', '-e', 'DROVER_EXEC=e', '-w', '/d', '-u', 'u:g', '-t', container],
      ...argv,
    ])
  })

  test('[bounded] what is too long for the swarm’s store is refused before anything runs', () => {
    const long = Array.from({ length: 6 }, () => 'x'.repeat(100_000))
    expect(() => clientArgs({ argv: ['echo', ...long] }, 'e', container)).toThrow(
      /587 KiB long, and a temporary service takes 512/,
    )
    expect(() => clientArgs({ argv: ['cat'], stdin: 'x'.repeat(65_537) }, 'e', container)).toThrow(/64 KiB at most/)
    expect(() => clientArgs({ argv: ['cat'], env: { DROVER_STDIN: 'x' } }, 'e', container)).toThrow(/hands stdin= over/)
    expect(() => clientArgs({ argv: ['a\0'] }, 'e', container)).toThrow(/NUL/)
  })

  test('without base64 the input is not taken for an empty one: the shell says so in the words that are looked for', () => {
    const args = clientArgs({ argv: ['cat'], stdin: 'x' }, 'e', container)
    const [, shell = '', ...words] = args.slice(args.indexOf(container))
    const env = { DROVER_EXEC: 'e', DROVER_STDIN: 'eA==', PATH: '/no/such/folder' }
    const { status, stdout, stderr } = spawnSync(shell, words, { env, encoding: 'utf8' })
    expect([status, stdout, stderr]).toEqual([127, '', 'drover: no base64 e\n'])
    const failure = clientFailure(
      { code: 127, all: stderr, tail: stderr },
      { command: { argv: ['cat'], stdin: 'x' }, exec: 'e', name: 'web' },
    )
    expect([failure?.code, failure?.ran]).toEqual(['unsupported', 'no'])
    expect(spawnSync(shell, words, { env: { ...env, PATH: process.env.PATH }, encoding: 'utf8' }).stdout).toBe('x')
  })

  test('a handle tells marker and user again, by whichever way it was made', () => {
    for (const user of [undefined, 'nobody', '1000:1000', 'with.dot/and:x'])
      expect(readHandle(handleText('abc', user))).toEqual({ exec: 'abc', ...(user === undefined ? {} : { user }) })
    expect(readHandle(dockerHandleText({ exec: 'abc', id: container, user: 'a/b.c' }))).toEqual({
      exec: 'abc',
      id: container,
      user: 'a/b.c',
    })
    expect(readHandle('abc')).toEqual({ exec: 'abc' })
  })
})

describe('which way', () => {
  /** A manager as far as the question goes: which nodes there are, and which of them it is. */
  let nodes: readonly object[] = []
  let refused: { status: number; message: string } | undefined
  const asked: string[] = []
  const server = createServer((request, response) => {
    const path = request.url?.replace(/^\/v[\d.]+/, '').replace(/\?.*/, '') ?? ''
    asked.push(`${request.method} ${path}`)
    const answer = (body: unknown, status = 200) =>
      response.writeHead(status, { 'api-version': '1.41' }).end(JSON.stringify(body))
    if (path === '/_ping') return answer('OK')
    if (refused) return answer({ message: refused.message }, refused.status)
    if (path === '/nodes') return answer(nodes)
    if (path === '/info') return answer({ Swarm: { NodeID: 'own' } })
    return answer({ message: `no ${path}` }, 404)
  })
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
  afterAll(() => new Promise((resolve) => server.close(resolve)))
  const node = (ID: string, Hostname: string, State = 'ready', Availability = 'active') => ({
    ID,
    Spec: { Availability },
    Description: { Hostname },
    Status: { State },
  })
  const target = (node: string): Target => ({
    id: 's/t' as TargetId,
    backend: 's',
    kind: 'swarm',
    native: 't',
    name: 'web.1.t',
    engineId: container,
    labels: { 'com.docker.swarm.node.id': node },
    facets: {},
  })
  const host = () => `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
  const nowhere = { host: 'unix:///no/such/engine.sock' }
  const failed = (options: Partial<SwarmOptions>, of = target('a')): Promise<BackendError> => {
    const backend = swarm(
      { name: 's', host: host(), plaintext: true, ...options },
      { transport: nodeTransport, machine: nodeMachine() },
    )
    return failureOf(runOn(backend, of, { argv: ['true'] }))
  }
  const temporaryService = { image: digest, socket: '/var/run/docker.sock' }

  test('a name that two nodes share is refused, and each can be named by its id', async () => {
    nodes = [node('own', 'm'), node('a', 'twin'), node('b', 'twin')]
    const failure = await failed({ nodes: { twin: nowhere }, temporaryService })
    expect([failure.code, failure.ran, failure.message]).toEqual(['config', 'no', 'Two nodes are called twin: a and b.'])
    expect((await failed({ nodes: { a: nowhere } })).message).toContain('There is no socket at unix:///no/such/engine.sock')
  })

  test('a node that was made anew keeps its name from the one that is down', async () => {
    nodes = [node('own', 'm'), node('a', 'twin'), node('b', 'twin', 'down')]
    expect((await failed({ nodes: { twin: nowhere } })).message).toContain('There is no socket')
  })

  test.each([
    [node('a', 'w', 'down'), /The node w \(a\) is down/],
    [node('a', 'w', 'ready', 'drain'), /takes nothing new \(drain\)/],
    [node('a', 'w', 'ready', 'pause'), /takes nothing new \(pause\)/],
    [node('b', 'w'), /The node a is not in the swarm any more/],
  ])('where no temporary service could start none is made: %#', async (one, said) => {
    nodes = [node('own', 'm'), one]
    asked.length = 0
    const failure = await failed({ temporaryService })
    expect([failure.ran, failure.message, failure.next]).toEqual(['no', expect.stringMatching(said), expect.any(String)])
    expect(asked.filter((one) => one.startsWith('POST'))).toEqual([])
  })

  test.each([
    // Recorded from 20.10, and from the sources of swarmkit.
    [
      503,
      "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.",
      'config',
      /is a worker of its swarm/,
    ],
    [
      503,
      'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
      'config',
      /is in no swarm/,
    ],
    [
      500,
      "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.",
      'backend_unavailable',
      /no leader/,
    ],
    [
      503,
      'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.',
      'backend_unavailable',
      /is locked/,
    ],
    [500, 'boom', 'backend_unavailable', /HTTP 500: boom/],
  ])('HTTP %i %s is told as such by the list', async (status, message, code, said) => {
    refused = { status, message }
    const backend = swarm({ name: 's', host: host(), plaintext: true }, { transport: nodeTransport, machine: nodeMachine() })
    const failure = await failureOf(backend.list({}, AbortSignal.timeout(10_000)))
    refused = undefined
    expect([failure.code, failure.ran, failure.message]).toEqual([code, 'no', expect.stringMatching(said)])
    expect(failure.next).toBeTruthy()
  })

  test('what is no task of a swarm is not run anywhere', async () => {
    expect(await failed({ temporaryService }, { ...target('a'), labels: {} })).toMatchObject({
      code: 'backend_protocol',
      ran: 'no',
    })
  })
})

/** What of the docker backend needs no engine: its frames, its addresses, its words. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { messageOf, refusal } from '../../src/backends/docker/api.ts'
import { docker } from '../../src/backends/docker/backend.ts'
import { isMadeById, onlyName } from '../../src/backends/docker/container.ts'
import { dockerFrames, NotFrames } from '../../src/backends/docker/frames.ts'
import { handleText, readHandle } from '../../src/backends/docker/handle.ts'
import { readHost } from '../../src/backends/docker/host.ts'
import { mayBeEngine, startFailure } from '../../src/backends/docker/start-failure.ts'
import { givesHost, isStrong } from '../../src/backends/wire/mounts.ts'
import { parseConfig } from '../../src/config.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'

const frame = (stream: number, data: Uint8Array) => {
  const header = Buffer.alloc(8)
  header[0] = stream
  header.writeUInt32BE(data.byteLength, 4)
  return Buffer.concat([header, data])
}
const asText = (pieces: Iterable<{ stream: string; data: Uint8Array }>, stream: string) =>
  Buffer.concat([...pieces].filter((one) => one.stream === stream).map((one) => one.data)).toString('latin1')

describe('the image of a container that was made from an id', () => {
  const id = `sha256:${'ab'.repeat(32)}`
  const made = (from: string) => isMadeById({ State: { Running: true }, Image: id, Config: { Image: from } })

  test('is known by that id or its begin, and a name that only looks like one is a name', () => {
    expect([id, id.slice(7), 'abab', 'sha256:abab'].map(made)).toEqual([true, true, true, true])
    expect(['web', 'cafe', 'abba', '', `web@${id}`].map(made)).toEqual([false, false, false, false, false])
    // Podman's way to write it.
    expect(isMadeById({ State: { Running: true }, Image: id.slice(7), Config: { Image: id.slice(7, 19) } })).toBe(true)
  })

  test.each([
    [['web:1'], [], 'web:1'],
    [['web:1'], null, 'web:1'],
    [['h:5000/web:1'], [`h:5000/web@${id}`], 'h:5000/web:1'],
    [[], [`web@${id}`], `web@${id}`],
    [['web:1', 'web:latest'], [], undefined],
    [['web:1'], [`other/web@${id}`], undefined],
    [[], [`web@${id}`, `other@${id}`], undefined],
    [['<none>:<none>'], ['<none>@<none>'], undefined],
    [[], [], undefined],
    [null, undefined, undefined],
  ])('S45 it is judged by its only name: of tags %j and digests %j that is %s', (RepoTags, RepoDigests, name) => {
    expect(onlyName({ RepoTags, RepoDigests })).toBe(name)
  })
})

describe('frames', () => {
  test('S38 however the bytes are cut, each stream arrives whole and in order', () => {
    const written = fc.array(fc.record({ stream: fc.constantFrom(0, 1, 2), data: fc.uint8Array({ maxLength: 40 }) }), {
      maxLength: 20,
    })
    fc.assert(
      fc.property(written, fc.array(fc.nat(1000), { maxLength: 30 }), (frames, cuts) => {
        const bytes = Buffer.concat(frames.map(({ stream, data }) => frame(stream, data)))
        const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
        const parser = dockerFrames()
        const pieces = places.flatMap((place, i) => parser.write(bytes.subarray(places[i - 1] ?? 0, place)))
        for (const [stream, kinds] of [
          ['stdout', [0, 1]],
          ['stderr', [2]],
        ] as const) {
          const expected = Buffer.concat(
            frames.filter((one) => (kinds as readonly number[]).includes(one.stream)).map((one) => one.data),
          )
          expect(asText(pieces, stream)).toBe(expected.toString('latin1'))
        }
        expect(parser.isWhole()).toBe(true)
      }),
    )
  })

  test('S41 a stream that stops in the middle of a frame or of its header is not whole', () => {
    const bytes = Buffer.concat([frame(1, Buffer.from('abc')), frame(2, Buffer.from('de'))])
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const parser = dockerFrames()
      parser.write(bytes.subarray(0, cut))
      expect([cut, parser.isWhole()]).toEqual([cut, cut === 0 || cut === 11 || cut === bytes.length])
    }
  })

  test('what is not this protocol is an error, never output', () => {
    for (const bytes of [
      Buffer.from('HTTP/1.1 200'),
      Buffer.from([4, 0, 0, 0, 0, 0, 0, 0]),
      Buffer.from([1, 0, 1, 0, 0, 0, 0, 1, 65]),
    ])
      expect(() => dockerFrames().write(bytes)).toThrow(NotFrames)
    expect(dockerFrames().write(frame(3, Buffer.from('bad')))).toMatchObject([{ stream: 'engine' }])
  })
})

describe('addresses', () => {
  const both = { tls: true, plaintext: false }
  const none = { tls: false, plaintext: false }
  test.each([
    ['unix:///var/run/docker.sock', none, { way: 'unix', path: '/var/run/docker.sock' }],
    ['tcp://h', both, { way: 'http', base: 'https://h:2376', plaintext: false }],
    ['tcp://h:80', both, { way: 'http', base: 'https://h:80', plaintext: false }],
    ['h:2375', { tls: false, plaintext: true }, { way: 'http', base: 'http://h:2375', plaintext: true }],
    ['http://h', { tls: true, plaintext: true }, { way: 'http', base: 'http://h:2375', plaintext: true }],
    ['https://h/engine/', none, { way: 'http', base: 'https://h/engine', plaintext: false }],
    ['https://[::1]:444', none, { way: 'http', base: 'https://[::1]:444', plaintext: false }],
    ['ssh://me@h:22', none, { way: 'ssh', host: 'h', user: 'me', port: '22' }],
    ['ssh://[::1]', none, { way: 'ssh', host: '::1' }],
  ] as const)('%s is read as the docker client reads it', (text, about, expected) => {
    expect(readHost(text, about)).toEqual(expected)
  })

  test.each([
    'tcp://h:2375',
    'http://h',
    'h:2375',
    'unix://relative',
    'npipe:////./pipe/docker_engine',
    'fd://',
    'ftp://h',
    'ssh://-oProxyCommand=x',
    'ssh://-l@h',
    'ssh://u:secret@h',
    'ssh://h/path',
    'https://u@h',
    'https://h?x=1',
    '',
  ])('S31 %s is refused, and no secret of it is repeated', (text) => {
    const host = readHost(text, none)
    expect(host).toMatchObject({ way: 'problem' })
    expect(JSON.stringify(host)).not.toContain('secret')
  })

  test.each([
    ['{ kind: docker }', /say exactly one of host:, context: or fromEnvironment/],
    ["{ kind: docker, host: 'unix:///a', context: b }", /say exactly one/],
    ["{ kind: docker, host: 'tcp://h:2375' }", /backends.d.host: this is not encrypted, and whoever can reach it owns that host/],
    ["{ kind: docker, host: 'tcp://h', tls: { cert: a } }", /cert and key go together/],
    ['{ kind: docker, context: a, tls: { ca: b } }', /only with host/],
    ["{ kind: docker, host: 'unix:///a', socket: b }", /unknown key socket/],
    ['{ kind: docker, context: ../x }', /the name of a context/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { memory: lots } }", /a size like 256m/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { networks: [] } }", /networks/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { binds: [/] } }", /unknown key binds/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { pull: always } }", /pull/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { mounts: { A: { source: /a, target: /b } } } }", /mounts/],
    [
      "{ kind: docker, host: 'unix:///a', newContainers: { mounts: { a: { source: /a/../b, target: /b } } } }",
      /without \. and \.\./,
    ],
    ["{ kind: docker, host: 'unix:///a', newContainers: { mounts: { a: { source: ./a, target: /b } } } }", /absolute path/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { mounts: { a: { source: /a, target: b } } } }", /absolute path/],
    ["{ kind: docker, host: 'unix:///a', newContainers: { mounts: { a: { source: /a, target: // } } } }", /not the root/],
    [
      "{ kind: docker, host: 'unix:///a', newContainers: { mounts: { a: { source: /a, target: /b, writable: false } } } }",
      /writable/,
    ],
  ])('drover.yaml with %s is told what to write', (entry, said) => {
    expect(() => parseConfig(`backends: { d: ${entry} }`, 'drover.yaml', {})).toThrow(said)
  })

  test('on Workers what needs files, programs or sockets is refused at start-up, with the reason', () => {
    for (const settings of [
      { host: 'unix:///a' },
      { host: 'ssh://h' },
      { host: 'tcp://h', tls: { ca: 'x' } },
      { context: 'x' },
      { fromEnvironment: true as const },
    ])
      expect(() => docker({ name: 'd', ...settings }, { transport: workerTransport })).toThrow(/Workers/)
    expect(docker({ name: 'd', host: 'https://h' }, { transport: workerTransport }).traits.stdin).toBe(false)
  })
})

describe('mounts', () => {
  test.each([
    ...['/', '//', '/etc', '/etc/', '//etc//ssl', '/root/.ssh', '/var', '/var/lib', '/var/lib/docker/volumes', '/run/user/0'],
    ...['/srv/docker.sock', '/proc/1', '/usr/local', '/lib/systemd'],
  ])('S45 %s makes a container privileged', (source) => {
    expect(isStrong({ source, target: '/x' })).toBe(true)
  })

  test.each(['/srv', '/srv/etc', '/home/me/src', '/data', '/opt/x', '/etcetera', '/var/log', 'etc', 'a-volume', '/libfoo'])(
    'S45 %s does not',
    (source) => {
      expect(isStrong({ source, target: '/x' })).toBe(false)
    },
  )
})

describe('folders of the host in a container that is there', () => {
  test.each([
    '/',
    '//',
    '/etc',
    '/var',
    '/var/lib',
    '/var/lib/docker/',
    '/boot',
    '/srv/docker.sock',
    '//run//containerd/containerd.sock',
  ])('S45 %s gives the host away', (path) => {
    expect(givesHost(path)).toBe(true)
  })

  test.each(['/etc/localtime', '/var/log', '/srv/app', '/home/me', 'a-volume', '/data/etc', '/usr/share/zoneinfo'])(
    'S45 %s does not',
    (path) => {
      expect(givesHost(path)).toBe(false)
    },
  )
})

describe('words', () => {
  test.each([
    // Recorded from 20.10 and 26.1.
    [
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown',
      'command_not_found',
      'There is no nosuch',
    ],
    [
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc/passwd": permission denied: unknown',
      'command_not_found',
      'cannot be run',
    ],
    [
      'OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd ("/nope") set in config.json failed: no such file or directory: unknown',
      'command_not_found',
      'The directory /nope',
    ],
    ['unable to find user bob: no matching entries in passwd file', 'unsupported', 'no user bob'],
    ['cannot exec in a stopped container', 'not_running', 'no longer running'],
    ['something new', 'backend_unavailable', 'something new'],
    ['', 'backend_unavailable', 'could not start it.'],
  ])('a start that failed with %j is told, and did not run', (text, code, said) => {
    const failure = startFailure(text, { executable: 'nosuch', dir: '/nope', user: 'bob' })
    expect([failure.code, failure.ran]).toEqual([code, 'no'])
    expect(failure.message).toContain(said)
  })

  test('only a single line that begins like an engine’s words is held back', () => {
    for (const text of ['', 'OCI', 'OCI runtime exec failed: x\r\n', 'unable to find user x'])
      expect([text, mayBeEngine(text)]).toEqual([text, true])
    for (const text of ['x', 'Error: x', 'OCI runtime exec failed: x\nmore', 'container x', 'out\n'])
      expect([text, mayBeEngine(text)]).toEqual([text, false])
  })

  test.each([
    [404, '{"message":"No such container: nope"}', 'backend_not_found'],
    [409, '{"message":"Container x is not running"}', 'not_running'],
    [409, '{"message":"Container x is paused, unpause the container before exec"}', 'not_running'],
    [403, 'Forbidden', 'backend_forbidden'],
    [401, '', 'backend_unauthorized'],
    [400, 'Client sent an HTTP request to an HTTPS server.', 'config'],
    [400, '{"message":"No exec command specified"}', 'backend_protocol'],
    [429, '', 'backend_unavailable'],
    [500, '{"message":"boom"}', 'backend_unavailable'],
  ])('HTTP %i %s is %s, and nothing ran', (status, body, code) => {
    const failure = refusal({ status, body }, 'the container web')
    expect([failure.code, failure.ran]).toEqual([code, 'no'])
    expect(failure.next).toBeTruthy()
  })

  test('[bounded] an engine’s message is one line, and not a long one', () => {
    expect(messageOf({ body: JSON.stringify({ message: `a\u0000\n\u001b b${'x'.repeat(10_000)}` }) })).toMatch(/^a b?.{0,298}$/)
  })

  test('a handle tells the marker, the engine’s id and the user again', () => {
    const id = 'a'.repeat(64)
    for (const user of [undefined, 'nobody', '1000:1000', 'with.dot:x'])
      expect(readHandle(handleText({ exec: 'abc', id, user }))).toEqual({
        exec: 'abc',
        id,
        ...(user === undefined ? {} : { user }),
      })
    expect(readHandle('abc')).toEqual({ exec: 'abc' })
  })
})

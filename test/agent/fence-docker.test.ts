import { describe, expect, it } from 'vitest'
import type { Call } from '../../src/agent/fence.ts'
import { type DockerAllowed, dockerFence } from '../../src/agent/fence-docker.ts'
import { killCommand } from '../../src/backends/wire/kill.ts'
import { TMP_OPTIONS } from '../../src/backends/wire/new-container.ts'
import { parseLabels } from '../../src/core/selector.ts'
import { refusal } from './refusal.ts'

const hex = (one: string) => one.repeat(64)
const WEB = hex('a')
const DB = hex('b')
const ROOT = hex('c')
const MADE = hex('d')
const EXEC = hex('e')
const GUEST = hex('1')
const BESIDE = hex('2')
const COPY = hex('3')
const STRAY = hex('4')
const SECRET = 'PASSWORD=hunter2'

const container = (Id: string, Name: string, more: { HostConfig?: object; Labels?: Record<string, string> } = {}) => ({
  Id,
  Name: `/${Name}`,
  State: { Running: true },
  HostConfig: more.HostConfig ?? {},
  Mounts: [],
  Config: { Env: [SECRET], Image: 'alpine:3', Labels: more.Labels ?? {} },
})
const world = [
  container(WEB, 'web-1', { Labels: { app: 'web' } }),
  container(DB, 'db-1', { Labels: { app: 'db' } }),
  container(ROOT, 'web-root', { Labels: { app: 'web' }, HostConfig: { Privileged: true } }),
  container(MADE, 'brave_curie', { Labels: { 'drover.helper': 'new' } }),
  container(GUEST, 'web-guest', { Labels: { app: 'web' }, HostConfig: { PidMode: `container:${ROOT}` } }),
  container(BESIDE, 'web-beside', { Labels: { app: 'web' }, HostConfig: { NetworkMode: `container:${WEB}` } }),
  container(STRAY, 'web-stray', { Labels: { app: 'web' }, HostConfig: { IpcMode: `container:${hex('9')}` } }),
  {
    ...container(COPY, 'copy', { Labels: { 'drover.helper': 'new' } }),
    Config: { Env: [], Image: 'theirs:1', Labels: { 'drover.helper': 'new' } },
  },
]

function fence(allowed: DockerAllowed = {}, foreignExecs: Readonly<Record<string, string>> = {}) {
  const judge = dockerFence(allowed, async (path) => {
    const [, kind, reference = ''] = path.split('/')
    if (kind === 'exec') {
      const ContainerID = foreignExecs[reference]
      const told = { ID: reference, Running: true, ExitCode: null, Pid: 7, ContainerID, ProcessConfig: { arguments: [SECRET] } }
      return ContainerID ? { status: 200, body: JSON.stringify(told) } : { status: 404, body: '{"message":"No such exec"}' }
    }
    const found = world.find(({ Id, Name }) => Id === reference || Name === `/${reference}`)
    return found ? { status: 200, body: JSON.stringify(found) } : { status: 404, body: '{"message":"No such container"}' }
  })
  return (method: string, path: string, body: unknown = '', kind: Call['kind'] = 'http') =>
    judge(
      { kind, method, path, headers: {}, body: typeof body === 'string' ? body : JSON.stringify(body) },
      AbortSignal.timeout(5_000),
    )
}

/** Settings of a host that drover asks for in another form, or not at all. */
const beyondTheForm: readonly object[] = [
  { CapAdd: ['SYS_ADMIN'] },
  { CapDrop: ['ALL'], CapAdd: ['CHOWN', 'NET_ADMIN'] },
  { CapDrop: ['KILL'] },
  { ReadonlyRootfs: false },
  { Tmpfs: { '/tmp': 'rw,dev,suid' } },
  { Tmpfs: { '/etc': 'rw' } },
  { StorageOpt: { size: '1g', other: 'x' } },
]

const EXEC_BODY = { AttachStdin: false, AttachStdout: true, AttachStderr: true, Tty: false, Cmd: ['true'], Env: ['A=b'] }
const START_BODY = { Detach: false, Tty: false }

describe('the list of an agent beside Docker', () => {
  it('lets the calls of an exec pass, written anew', async () => {
    const pass = fence()
    expect(await pass('GET', '/_ping')).toEqual({ method: 'GET', path: '/_ping' })
    expect(await pass('GET', '/v1.41/info')).toEqual({ method: 'GET', path: '/v1.41/info' })
    expect(await pass('GET', '/v1.41/containers/json?filters=%7B%7D')).toMatchObject({
      path: '/v1.41/containers/json?filters=%7B%7D',
    })
    expect(await pass('GET', `/v1.41/containers/${WEB}/json`)).toMatchObject({ path: `/v1.41/containers/${WEB}/json` })
    const made = await pass('POST', `/v1.41/containers/${WEB}/exec`, EXEC_BODY)
    expect([made.path, JSON.parse(made.body ?? '')]).toEqual([`/v1.41/containers/${WEB}/exec`, EXEC_BODY])
    // A name is turned into the id that was looked at, so that nobody can change what it means in between.
    expect((await pass('POST', '/v1.41/containers/web-1/exec', EXEC_BODY)).path).toBe(`/v1.41/containers/${WEB}/exec`)
    // The engine's own word for one that is not there.
    expect((await pass('POST', '/v1.41/containers/nobody/exec', EXEC_BODY)).path).toBe('/v1.41/containers/nobody/exec')
  })

  it('[default-deny] refuses every other call', async () => {
    const pass = fence({ images: ['*'], helperImage: 'busybox:1' })
    const others = [
      ...[
        'GET /images/json',
        'POST /build',
        'POST /images/create?fromImage=x',
        'GET /secrets',
        'GET /events',
        'POST /swarm/init',
      ],
      ...[
        'GET /volumes',
        'POST /volumes/create',
        'POST /networks/create',
        'POST /plugins/pull',
        'POST /auth',
        'POST /session',
        'POST /grpc',
      ],
      ...[
        `GET /containers/${WEB}/archive?path=/etc/shadow`,
        `PUT /containers/${WEB}/archive?path=/`,
        `GET /containers/${WEB}/export`,
      ],
      ...[
        `POST /containers/${WEB}/kill`,
        `POST /containers/${WEB}/update`,
        `POST /containers/${WEB}/rename?name=x`,
        `POST /commit?container=${WEB}`,
      ],
      ...[
        `GET /containers/${WEB}/top`,
        `GET /containers/${WEB}/changes`,
        `POST /containers/prune`,
        `POST /exec/${EXEC}/resize?h=1&w=1`,
      ],
      ...[
        'DELETE /_ping',
        'HEAD /_ping',
        'POST /containers/json',
        'PATCH /info',
        `GET /containers/${WEB}/exec`,
        `POST /containers/${WEB}/json`,
      ],
      ...[`GET /images/${encodeURIComponent('alpine:3')}/json`, `GET /images/${hex('a').slice(1)}/json`],
      ...[
        `GET /images/sha256:${hex('a')}/history`,
        `DELETE /images/sha256:${hex('a')}`,
        `GET /images/sha256:${hex('a')}/json?x=1`,
      ],
    ]
    for (const one of others) {
      const [method = '', path = ''] = one.split(' ')
      expect([one, await refusal(pass(method, `/v1.41${path}`, {}))]).toEqual([one, expect.stringMatching(/list|plainly/)])
    }
    expect(await refusal(pass('GET', `/v1.41/containers/${WEB}/attach/ws`, '', 'socket'))).toMatch(/a websocket to/)
    expect(await refusal(pass('POST', '/session', '', 'upgrade'))).toMatch(/\(raw\)/)
    expect((await pass('GET', `/v1.41/images/${encodeURIComponent('busybox:1')}/json`)).path).toBe(
      '/v1.41/images/busybox%3A1/json',
    )
  })

  it('S46 of an image that is asked for by its id its names are told, and nothing else', async () => {
    const passed = await fence()('GET', `/v1.41/images/sha256:${hex('a')}/json`)
    expect([passed.method, passed.path]).toEqual(['GET', `/v1.41/images/sha256:${hex('a')}/json`])
    const body = JSON.stringify({ RepoTags: ['web:1'], RepoDigests: [], Config: { Env: [SECRET] } })
    expect(JSON.parse(passed.answer?.({ status: 200, body }) ?? '')).toEqual({ RepoTags: ['web:1'], RepoDigests: [] })
  })

  it('[default-deny] refuses every path that two readers could read in two ways', async () => {
    const pass = fence({ names: ['web-1'] })
    const paths = [
      ...[
        '//_ping',
        '/_ping/',
        '/./_ping',
        '/x/../_ping',
        '/_ping%2f',
        '/%5fping',
        '/_ping\\',
        '/_ping;x',
        '_ping',
        '',
        '/',
        '/_ping\n',
        '/_ping\u0000',
      ],
      ...[
        `/v1.41/containers/${WEB}/../${DB}/json`,
        `/v1.41/containers/${WEB}%2F..%2F${DB}/json`,
        `/v1.41//containers/${WEB}/json`,
      ],
      ...[
        `/v1.41/v1.41/containers/${WEB}/json`,
        `/v1.41/containers/${WEB}/exec/`,
        '/v1.41/containers/ＷＥＢ/json',
        `/containers/${WEB}/json#x`,
      ],
      ...[
        `/v1.41/containers/${WEB}/json?size=1`,
        '/v1.41/containers/json?all=1&all=0',
        '/v1.41/containers/json?limit=1',
        '/_ping?x=1',
      ],
      ...[`http://127.0.0.1/_ping`, `//evil.example.com/_ping`, `@evil.example.com/_ping`],
    ]
    for (const path of paths) expect([path, await refusal(pass('GET', path))]).toEqual([path, expect.stringMatching(/./)])
  })

  it('S45 refuses an exec that asks for more than an exec: privileged, in any spelling', async () => {
    const pass = fence()
    for (const more of [
      { Privileged: true },
      { privileged: true },
      { PRIVILEGED: true },
      { Privileged: false },
      { DetachKeys: 'x' },
      { ConsoleSize: [1, 1] },
    ])
      expect(await refusal(pass('POST', `/containers/${WEB}/exec`, { ...EXEC_BODY, ...more }))).toMatch(
        new RegExp(`"${Object.keys(more)[0]}" of an exec is not on its list`),
      )
    for (const body of [
      '',
      'x',
      '[]',
      '{}',
      '{"Cmd":"sh"}',
      '{"Cmd":[]}',
      JSON.stringify(EXEC_BODY).replace('"Tty":false', '"Tty":"yes"'),
    ])
      expect(await refusal(pass('POST', `/containers/${WEB}/exec`, body))).toMatch(/of an exec is not on its list/)
    // Docker takes the last of two, whatever its case; the agent sends one.
    const twice = `{"Cmd":["true"],"Cmd":["id"]}`
    expect((await pass('POST', `/containers/${WEB}/exec`, twice)).body).toBe('{"Cmd":["id"]}')
  })

  it('S45 refuses commands in a privileged container, unless the list says so', async () => {
    const path = `/containers/${ROOT}/exec`
    expect(await refusal(fence()('POST', path, EXEC_BODY))).toBe(
      'the container "web-root" is privileged, and its list does not say privileged: true',
    )
    expect((await fence({ privileged: true })('POST', path, EXEC_BODY)).path).toBe(path)
  })

  it('S45 counts a container as privileged that is in a namespace of such a one, or of one that is not told', async () => {
    for (const id of [GUEST, STRAY])
      expect(await refusal(fence()('POST', `/containers/${id}/exec`, EXEC_BODY))).toMatch(/is privileged/)
    expect((await fence()('POST', `/containers/${BESIDE}/exec`, EXEC_BODY)).path).toBe(`/containers/${BESIDE}/exec`)
  })

  it('names and labels fence containers off, in lists and in every call', async () => {
    for (const allowed of [
      { names: ['web-*'] },
      { labels: parseLabels('app=web') },
      { names: ['web-?', 'x'], labels: parseLabels('app') },
    ]) {
      const pass = fence(allowed)
      expect((await pass('POST', `/containers/${WEB}/exec`, EXEC_BODY)).path).toContain(WEB)
      for (const [method, path, body] of [
        ['POST', `/containers/${DB}/exec`, EXEC_BODY],
        ['POST', '/containers/db-1/exec', EXEC_BODY],
        ['GET', `/containers/${DB}/json`, ''],
      ] as const)
        expect(await refusal(pass(method, path, body))).toBe('the container "db-1" is not on its list')
      const { answer } = await pass('GET', '/containers/json')
      const listed = world.map(({ Id, Name, Config }) => ({ Id, Names: [Name], Labels: Config.Labels, State: 'running' }))
      const told = JSON.parse(answer?.({ status: 200, body: JSON.stringify(listed) }) ?? '') as { Names: string[] }[]
      expect(told.flatMap(({ Names }) => Names)).not.toContain('/db-1')
      expect(told.flatMap(({ Names }) => Names)).toContain('/web-1')
    }
  })

  it('only executions that were made through it are started, and of others nothing is told but how they stand', async () => {
    const pass = fence({ names: ['web-1'] }, { [hex('f')]: WEB, [hex('9')]: DB })
    expect(await refusal(pass('POST', `/exec/${EXEC}/start`, START_BODY))).toBe('that exec was not made through it')
    const { answer } = await pass('POST', `/containers/${WEB}/exec`, EXEC_BODY)
    answer?.({ status: 201, body: JSON.stringify({ Id: EXEC }) })
    for (const kind of ['http', 'upgrade'] as const)
      expect(await pass('POST', `/v1.41/exec/${EXEC}/start`, START_BODY, kind)).toEqual({
        method: 'POST',
        path: `/v1.41/exec/${EXEC}/start`,
        body: JSON.stringify(START_BODY),
      })
    expect(await refusal(pass('POST', `/exec/${EXEC}/start`, { Detach: true }))).toMatch(/"Detach" of the start/)
    const record = await pass('GET', `/exec/${hex('f')}/json`)
    const told = record.answer?.({
      status: 200,
      body: JSON.stringify({ ID: 'f', Running: true, ContainerID: WEB, ProcessConfig: { arguments: [SECRET] } }),
    })
    expect(told).not.toContain('hunter2')
    expect(await refusal(pass('GET', `/exec/${hex('9')}/json`))).toMatch(/"db-1" is not on its list/)
  })

  it('S33 the environment of a container stays where it is', async () => {
    const { answer } = await fence()('GET', `/containers/${WEB}/json`)
    const told = answer?.({ status: 200, body: JSON.stringify(world[0]) }) ?? ''
    expect(told).not.toContain('hunter2')
    expect(JSON.parse(told)).toMatchObject({ Id: WEB, Config: { Image: 'alpine:3', Labels: { app: 'web' } } })
  })
})

describe('new containers', () => {
  const body = (more: object = {}, host: object = {}) => ({
    Image: 'alpine:3',
    Entrypoint: ['id'],
    Cmd: [],
    Env: [],
    Tty: false,
    Labels: { 'drover.helper': 'new', 'drover.exec': 'x', 'drover.deadline': '1' },
    HostConfig: {
      NetworkMode: 'none',
      Memory: 1024,
      MemorySwap: 1024,
      NanoCpus: 1,
      PidsLimit: 10,
      Init: true,
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none' },
      ...host,
    },
    ...more,
  })
  const create = (allowed: DockerAllowed, what: unknown) => fence(allowed)('POST', '/v1.41/containers/create', what)

  it('[default-deny] are made only from images on the list', async () => {
    expect(await refusal(create({}, body()))).toMatch(/new containers of "alpine:3" are not on its list/)
    expect(await refusal(create({ images: ['alpine:2', 'docker.io/*'] }, body()))).toMatch(/not on its list/)
    // A star does not reach into another registry.
    expect(await refusal(create({ images: ['alpine*'] }, body({ Image: 'alpine.evil.example.com/root:1' })))).toMatch(
      /not on its list/,
    )
    // A digest wins over the tag beside it.
    expect(await refusal(create({ images: ['alpine:3*'] }, body({ Image: 'alpine:3@sha256:0123' })))).toMatch(/not on its list/)
    expect(JSON.parse((await create({ images: ['alpine:*'] }, body())).body ?? '')).toEqual(body())
  })

  it('S45 get nothing of the host, whatever is asked for', async () => {
    const allowed = { images: ['*'], networks: ['none', 'apps'] }
    const hosts: readonly object[] = [
      { Binds: ['/:/host'] },
      { Mounts: [{ Type: 'bind', Source: '/', Target: '/host' }] },
      { Privileged: true },
      { privileged: true },
      { PidMode: 'host' },
      { IpcMode: 'host' },
      { UsernsMode: 'host' },
      { UTSMode: 'host' },
      { CgroupnsMode: 'host' },
      ...beyondTheForm,
      { Devices: [{ PathOnHost: '/dev/sda' }] },
      { DeviceRequests: [] },
      { VolumesFrom: ['web-1'] },
      { Runtime: 'other' },
      { SecurityOpt: ['no-new-privileges', 'seccomp=unconfined'] },
      { SecurityOpt: [] },
      { NetworkMode: 'host' },
      { NetworkMode: `container:${WEB}` },
      { NetworkMode: 'bridge' },
      { Sysctls: { 'kernel.x': '1' } },
      { LogConfig: { Type: 'syslog', Config: { 'syslog-address': 'tcp://evil' } } },
      { MemorySwap: 0, Memory: 0 },
    ]
    for (const host of hosts) {
      const said = await refusal(create(allowed, body({}, host)))
      expect([host, said]).toEqual([host, expect.stringMatching(/list|helperImage|look into/)])
    }
    for (const more of [
      { Volumes: { '/x': {} } },
      { NetworkingConfig: {} },
      { Labels: {} },
      { Labels: { 'drover.helper': 'new', other: 'x' } },
      { Cmd: ['x'] },
    ])
      expect(await refusal(create(allowed, body(more)))).toMatch(/of a new container is not on its list/)
    expect((await create(allowed, body({}, { NetworkMode: 'apps' }))).path).toBe('/v1.41/containers/create')
    const less = {
      CapDrop: ['ALL'],
      CapAdd: ['CHOWN'],
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': TMP_OPTIONS.join(',') },
      StorageOpt: { size: '1g' },
    }
    expect(JSON.parse((await create(allowed, body({}, less))).body ?? '').HostConfig).toMatchObject(less)
  })

  it('are the only ones that are started, stopped, attached to, read or removed', async () => {
    const pass = fence({ images: ['*'] })
    const calls = [
      ['POST', '/start', ''],
      ['POST', '/wait', '?condition=next-exit'],
      ['POST', '/stop', '?t=2'],
      ['POST', '/attach', '?stream=1&stdout=1&stderr=1'],
      ['GET', '/logs', '?stdout=1'],
      ['DELETE', '', '?force=1&v=1'],
    ] as const
    for (const [method, verb, query] of calls) {
      expect((await pass(method, `/v1.41/containers/${MADE}${verb}${query}`)).path).toBe(
        `/v1.41/containers/${MADE}${verb}${query}`,
      )
      expect(await refusal(pass(method, `/v1.41/containers/${WEB}${verb}${query}`))).toMatch(/was not made by drover/)
      expect(await refusal(pass(method, `/v1.41/containers/${MADE}${verb}?signal=9`))).toMatch(/not on its list/)
      // Labels go along with an image that was made by docker commit.
      expect(await refusal(fence({ images: ['alpine:*'] })(method, `/v1.41/containers/${COPY}${verb}${query}`))).toMatch(
        /was not made by drover/,
      )
    }
  })

  it('S42 a helper is drover’s own program and no other, and looks into containers on the list', async () => {
    const argv = killCommand('0123456789abcdef0123456789abcdef', undefined).argv
    const helper = (more: object = {}, host: object = {}) => ({
      Image: 'busybox:1',
      Entrypoint: argv,
      Cmd: [],
      User: '0:0',
      Labels: { 'drover.helper': 'kill', 'drover.deadline': '1' },
      HostConfig: {
        PidMode: `container:${WEB}`,
        NetworkMode: 'none',
        CapDrop: ['ALL'],
        CapAdd: ['KILL', 'SYS_PTRACE'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        LogConfig: { Type: 'local' },
        ...host,
      },
      ...more,
    })
    const allowed = { helperImage: 'busybox:1', names: ['web-1'] }
    expect(JSON.parse((await create(allowed, helper())).body ?? '')).toEqual(helper())
    expect(await refusal(create({ images: ['*'] }, helper()))).toMatch(/is not its helperImage/)
    for (const more of [
      { Entrypoint: ['/bin/sh', '-c', 'cat /proc/1/environ'] },
      { Entrypoint: [...argv.slice(0, 2), `${argv[2]}; id`, ...argv.slice(3)] },
      { Image: 'alpine:3' },
      { User: '' },
    ])
      expect(await refusal(create(allowed, helper(more)))).toMatch(/not on its list|not its helperImage/)
    for (const host of [
      { PidMode: 'host' },
      { PidMode: `container:${DB}` },
      { PidMode: `container:${hex('0')}` },
      ...beyondTheForm,
      { Privileged: true },
      { NetworkMode: 'host' },
    ])
      expect(await refusal(create(allowed, helper({}, host)))).toMatch(/list|look into|no container/)
  })
})

/** Logins out of the docker client's file, in every way that it writes them, and never out of it into words. */

import { describe, expect, test } from 'vitest'
import { docker } from '../../src/backends/docker/backend.ts'
import { loginsOf } from '../../src/backends/docker/logins.ts'
import type { Machine } from '../../src/backends/machine.ts'
import { parseConfig } from '../../src/config.ts'
import { DroverError } from '../../src/core/errors.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'

const soon = () => AbortSignal.timeout(5_000)
const basic = (text: string) => Buffer.from(text).toString('base64')

type Ran = { readonly argv: readonly string[]; readonly stdin: string | undefined; readonly env: object }

function reader(file: object | string | undefined, answers: Readonly<Record<string, { code: number; stdout: string }>> = {}) {
  const ran: Ran[] = []
  const learnt: string[] = []
  const machine: Machine = {
    env: { PATH: '/bin', HOME: '/home/me', DROVER_TOKEN: 'canary' },
    home: '/home/me',
    readText: async (path) =>
      path !== '/home/me/config.json' || file === undefined ? undefined : typeof file === 'string' ? file : JSON.stringify(file),
    run: async (argv, { env, stdin }) => {
      ran.push({ argv, stdin, env })
      return { stderr: '', ...(answers[argv[0]] ?? { code: 1, stdout: 'credentials not found in native keychain\n' }) }
    },
  }
  const logins = loginsOf('~/config.json', machine, (values) => learnt.push(...values))
  const login = async (image: string) => {
    const { registry, header } = await logins.for(image, soon())
    return [registry, header === undefined ? undefined : JSON.parse(Buffer.from(header, 'base64url').toString())]
  }
  return { login, logins, ran, learnt }
}

describe('a login', () => {
  const HUB = 'https://index.docker.io/v1/'
  test.each([
    ['alpine', 'docker.io', 'hub'],
    ['shop/api:1', 'docker.io', 'hub'],
    ['docker.io/library/alpine', 'docker.io', 'hub'],
    ['index.docker.io/library/alpine', 'docker.io', 'hub'],
    ['registry.example.com/shop/api:1', 'registry.example.com', 'own'],
    ['localhost/api', 'localhost', undefined],
    ['h:5000/api@sha256:0', 'h:5000', 'port'],
    ['old.example.com/api', 'old.example.com', 'old'],
    ['registry.example.com:5000/shop/api', 'registry.example.com:5000', undefined],
    ['evil.registry.example.com/shop/api', 'evil.registry.example.com', undefined],
    ['constructor.prototype/x', 'constructor.prototype', undefined],
  ])('S46 for %s is that of %s and of no other', async (image, registry, username) => {
    const entry = (name: string) => ({ auth: basic(`${name}:a:b/ä?`) })
    const { login } = reader({
      auths: {
        [HUB]: entry('hub'),
        'registry.example.com': entry('own'),
        'h:5000': entry('port'),
        'https://old.example.com/v2/': entry('old'),
      },
    })
    const [found, sent] = await login(image)
    const serveraddress = registry === 'docker.io' ? HUB : registry
    expect([found, sent]).toEqual([registry, username && { username, password: 'a:b/ä?', serveraddress }])
  })

  test('is a token where the file has one, and nothing where the entry is empty', async () => {
    const { login, learnt } = reader({
      auths: {
        'a.example': { auth: basic('<token>:'), identitytoken: 'tok' },
        'b.example': {},
        'c.example': { registrytoken: 'reg' },
      },
    })
    expect((await login('a.example/x'))[1]).toMatchObject({ identitytoken: 'tok', serveraddress: 'a.example' })
    expect((await login('b.example/x'))[1]).toBeUndefined()
    expect((await login('c.example/x'))[1]).toEqual({ registrytoken: 'reg', serveraddress: 'c.example' })
    expect(learnt).toEqual(expect.arrayContaining(['tok', 'reg']))
  })

  test('S46 comes from the helper of its registry, else from the one for all, which are asked with little environment', async () => {
    const file = { auths: { 'a.example': { auth: basic('file:file') } }, credHelpers: { 'a.example': 'one' }, credsStore: 'all' }
    const answers = {
      'docker-credential-one': { code: 0, stdout: '{"Username":"<token>","Secret":"from one"}' },
      'docker-credential-all': { code: 0, stdout: '{"Username":"me","Secret":"from all"}' },
    }
    const { login, ran, learnt } = reader(file, answers)
    expect((await login('a.example/x'))[1]).toEqual({ identitytoken: 'from one', serveraddress: 'a.example' })
    expect((await login('alpine'))[1]).toEqual({ username: 'me', password: 'from all', serveraddress: HUB })
    expect(ran.map(({ argv, stdin, env }) => [...argv, stdin, env])).toEqual([
      ['docker-credential-one', 'get', 'a.example', { PATH: '/bin', HOME: '/home/me' }],
      ['docker-credential-all', 'get', HUB, { PATH: '/bin', HOME: '/home/me' }],
    ])
    expect(learnt).toEqual(expect.arrayContaining(['from one', 'from all']))
    expect((await reader(file).login('a.example/x'))[1]).toBeUndefined()
  })

  test.each([
    [undefined, {}, 'There is no file /home/me/config.json'],
    ['{"auths": {"a.example": {"auth": "c2VjcmV0"', {}, 'is not what the docker client writes'],
    [{ auths: { 'a.example': 'secret' } }, {}, 'is not what the docker client writes'],
    [{ credsStore: '../secret; rm' }, {}, 'a credential helper that is no program'],
    [
      { credsStore: 'x' },
      { 'docker-credential-x': { code: 2, stdout: 'secret' } },
      'docker-credential-x ended with exit code 2.',
    ],
    [{ credsStore: 'x' }, { 'docker-credential-x': { code: 0, stdout: '{"Username":"secret"}' } }, 'did not answer with a login'],
  ])('[no-secret-shown] that cannot be had is told without a word of it: %j', async (file, answers, said) => {
    const failure = await reader(file, answers)
      .login('a.example/x')
      .then(
        () => undefined,
        (error: unknown) => error,
      )
    if (!(failure instanceof DroverError)) throw new Error(`it did not fail as it should: ${String(failure)}`)
    expect([failure.code, failure.message, Boolean(failure.next)]).toEqual(['config', expect.stringContaining(said), true])
    expect(`${failure.message} ${failure.next} ${failure.cause}`).not.toMatch(/c2VjcmV0|(?<!\.\.\/)secret(?!;)/)
  })

  test('a check names registries and the helper, and nothing else', async () => {
    const { logins } = reader({
      auths: { 'https://b.example/v2/': { auth: basic('me:secret') }, 'a.example': {} },
      credsStore: 'pass',
    })
    expect(await logins.told()).toBe('a.example, b.example; others from docker-credential-pass')
    expect(await reader({}).logins.told()).toBe('no registry by name')
  })
})

describe('newContainers.logins', () => {
  const config = (more: string, engine = 'host: unix:///run/docker.sock') =>
    parseConfig(
      `agents: { lab: { key: 'ed25519:${'A'.repeat(43)}' } }\nbackends: { d: { kind: docker, ${engine}, newContainers: { ${more} } } }\n`,
      'drover.yaml',
      {},
    )

  test('goes with pull: missing, and not with an agent, which pulls nothing', () => {
    expect(() => config('logins: /etc/drover/logins.json')).toThrow('only with pull: missing')
    expect(() => config('pull: missing, logins: /etc/drover/logins.json')).not.toThrow()
    expect(() => config('pull: missing, logins: /etc/drover/logins.json', 'through: lab')).toThrow(
      /logins: an agent pulls nothing/,
    )
  })

  test('is refused at the start where there are no files', () => {
    const newContainers = { networks: ['none'], memory: '64m', cpus: 1, processes: 9, pull: 'missing' as const, logins: '/x' }
    const start = () => docker({ name: 'd', host: 'https://engine.example', newContainers }, { transport: workerTransport })
    expect(start).toThrow('newContainers.logins is a file, and there are none here.')
  })
})

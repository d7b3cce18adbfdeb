/** The backend `containerd` on a real containerd. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { containerd } from '../../src/backends/containerd/backend.ts'
import { engineOf } from '../../src/backends/containerd/engine.ts'
import { execIdOf } from '../../src/backends/containerd/exec.ts'
import type { Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract, begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import {
  commandsInside,
  ctrAt,
  given,
  ownContainerd,
  removeContainers,
  rootOf,
  shimOf,
  startContainer,
  startWithHostPids,
} from './containerd-engine.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const address = given('CONTAINERD_ADDRESS')
const namespace = given('CONTAINERD_NAMESPACE')
const ctr = ctrAt(address, namespace)
const soon = () => AbortSignal.timeout(30_000)
const fifos = mkdtempSync(join(tmpdir(), 'drover-fifos-'))
const folders: string[] = [fifos]
const bareRoot = rootOf(['sleep', 'timeout', 'setsid'])
folders.push(bareRoot)

const connect = (options: { address?: string; namespace?: string; parallel?: number } = {}): Backend =>
  containerd(
    { name: 'ctd', address, namespace, parallel: 8, fifoDirectory: fifos, ...options },
    { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups },
  )
const backend = connect()

async function targetNamed(name: string, of: Backend = backend): Promise<Target> {
  const found = (await of.list({ name }, soon())).find((one) => one.name === name)
  if (!found) throw new Error(`there is no container ${name}`)
  return found
}

beforeAll(async () => {
  removeContainers(ctr)
  startContainer(ctr, 'web-1', {
    labels: { app: 'web', 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' },
  })
  startContainer(ctr, 'web-10', { labels: { app: 'web' } })
  startContainer(ctr, 'bare', { rootfs: bareRoot, argv: ['/bin/sleep', '1000000'] })
  startContainer(ctr, 'stopped')
})
afterAll(() => {
  removeContainers(ctr)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

backendContract('containerd', async () => {
  const stopped = await targetNamed('stopped')
  ctr('tasks', 'kill', '-s', 'KILL', 'stopped')
  while ((await backend.list({}, soon())).some(({ name }) => name === 'stopped')) await sleep(50)
  return {
    backend,
    target: await targetNamed('web-1'),
    bare: await targetNamed('bare'),
    stopped,
    processesInside: async (target, needle) => commandsInside(target.native, needle),
    // What an execution holds open is a folder of named pipes.
    openConnections: () => readdirSync(fifos).length,
    async tearDown() {},
  }
})

describe('containerd: what is found', () => {
  test('labels narrow what is asked for, and facets come from the labels of compose', async () => {
    const found = await backend.list({ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, soon())
    expect(found.map(({ name }) => name).sort()).toEqual(['web-1', 'web-10'])
    expect(found.find(({ name }) => name === 'web-1')?.facets).toMatchObject({
      stack: 'shop',
      service: 'web',
      container: 'web-1',
    })
    expect(await backend.list({ labels: [{ op: 'exists', key: 'com.docker.compose.project' }] }, soon())).toHaveLength(1)
    expect((await backend.list({ id: 'web-1' }, soon())).map(({ name }) => name).sort()).toEqual(['web-1', 'web-10'])
  })

  test('a whole name finds what has it as its id or from nerdctl, and runs', async () => {
    const named = async (name: string) => (await backend.list({ name }, soon())).map(({ native }) => native)
    startContainer(ctr, 'by-nerdctl', { labels: { 'nerdctl/name': 'shop-web' } })
    expect(await named('web-1')).toEqual(['web-1'])
    expect(await named('shop-web')).toEqual(['by-nerdctl'])
    ctr('tasks', 'pause', 'by-nerdctl')
    expect(await named('shop-web')).toEqual([])
    ctr('tasks', 'resume', 'by-nerdctl')
    ctr('tasks', 'rm', '-f', 'by-nerdctl')
    expect(await named('shop-web')).toEqual([])
    ctr('containers', 'rm', 'by-nerdctl')
  })

  test('S45 what is as good as root on its host is told, and nothing else is', async () => {
    startContainer(ctr, 'strong', { flags: ['--privileged'] })
    startContainer(ctr, 'host-net', { flags: ['--net-host'] })
    const found = await backend.list({}, soon())
    expect(found.filter((one) => one.privileged).map(({ name }) => name)).toEqual(['host-net', 'strong'])
  })

  test('the containers of Kubernetes have the labels of their pod, its facets, and no sandbox among them', async () => {
    const kube = ctrAt(address, 'k8s.io')
    removeContainers(kube)
    const pod = (name: string, space: string) => ({
      'io.kubernetes.pod.name': name,
      'io.kubernetes.pod.namespace': space,
      'io.kubernetes.pod.uid': `uid-of-${name}`,
    })
    try {
      for (const [name, space] of [
        ['api-7d9f', 'shop'],
        ['dns-1', 'kube-system'],
      ] as const) {
        const rootfs = { rootfs: bareRoot, argv: ['/bin/sleep', '1000000'] }
        const labels = pod(name, space)
        startContainer(kube, `${name}-sandbox`, {
          ...rootfs,
          labels: { ...labels, app: name, 'io.cri-containerd.kind': 'sandbox' },
        })
        const own = { 'io.kubernetes.container.name': 'main', 'io.cri-containerd.kind': 'container' }
        startContainer(kube, `${name}-main`, { ...rootfs, labels: { ...labels, ...own } })
      }
      const found = await connect({ namespace: 'k8s.io' }).list({ labels: [{ op: 'eq', key: 'app', value: 'api-7d9f' }] }, soon())
      expect(found.map(({ name, facets, labels, system }) => ({ name, facets, app: labels.app, system }))).toEqual([
        {
          name: 'api-7d9f/main',
          facets: { namespace: 'shop', pod: 'api-7d9f', container: 'main' },
          app: 'api-7d9f',
          system: undefined,
        },
        { name: 'dns-1/main', facets: { namespace: 'kube-system', pod: 'dns-1', container: 'main' }, app: 'dns-1', system: true },
      ])
    } finally {
      removeContainers(kube)
    }
  })

  test('an address where nothing is, and one that is no containerd, are told as such', async () => {
    const error = await failureOf(Promise.resolve(connect({ address: '/nonexistent/containerd.sock' }).list({}, soon())))
    expect([error.code, error.message]).toEqual(['backend_unavailable', 'There is no socket at /nonexistent/containerd.sock.'])
    const lines = await connect({ namespace: 'nobody-made-it' }).check(soon())
    expect(lines.find((line) => line.ok === false)).toMatchObject({ what: 'there is no namespace nobody-made-it' })
  })
})

describe('containerd: commands', () => {
  let target: Target
  let bare: Target
  beforeAll(async () => {
    target = await targetNamed('web-1')
    bare = await targetNamed('bare')
  })
  const run = (argv: readonly [string, ...string[]], options = {}) => runOn(backend, target, { argv, ...options })
  const mark = () => `${600_000 + Math.floor(Math.random() * 300_000)}`

  test('a user is meant by name, by number, or by both numbers; one that is not there is refused before anything runs', async () => {
    expect(`${(await run(['id', '-u'], { user: 'nobody' })).out}`).toBe('65534\n')
    expect(`${(await run(['id', '-g'], { user: '65534' })).out}`).toBe('65534\n')
    expect(`${(await run(['id', '-g'], { user: 'nobody:root' })).out}`).toBe('0\n')
    expect(`${(await run(['sh', '-c', 'id -u; id -g'], { user: '1234:4321' })).out}`).toBe('1234\n4321\n')
    expect(await failureOf(run(['id'], { user: 'bob' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
    expect(await failureOf(runOn(backend, bare, { argv: ['/bin/sleep', '0'], user: 'bob' }))).toMatchObject({
      code: 'unsupported',
      ran: 'no',
      next: 'Give numbers: user=1000:1000.',
    })
  })

  test('a variable replaces the one of that name that the container has', async () => {
    expect(
      `${(await run(['sh', '-c', 'tr "\\0" "\\n" </proc/$$/environ | grep -c ^PATH='], { env: { PATH: '/bin' } })).out}`,
    ).toBe('1\n')
  })

  test('1 MiB of stdin arrives whole, and its end too', async () => {
    const ran = await run(['md5sum'], { stdin: 'é'.repeat(524_288) })
    expect(`${ran.out}`).toMatch(/^[0-9a-f]{32} /)
    expect(`${(await run(['wc', '-c'], { stdin: 'é'.repeat(524_288) })).out}`.trim()).toBe('1048576')
    expect((await run(['true'], { stdin: 'x'.repeat(1_048_576) })).code).toBe(0)
  })

  test('what reads a terminal reads its end, and what is written to it later arrives', async () => {
    expect((await run(['cat'], { tty: true })).code).toBe(0)
    expect(`${(await run(['sh', '-c', 'cat; sleep 0.3; echo late'], { tty: true })).out}`).toBe('late\r\n')
  })

  test.each([
    ['/etc/passwd', {}, 'command_not_found', 'permission denied'],
    ['true', { dir: '/no/such/dir' }, 'command_not_found', 'The directory /no/such/dir is not there'],
    ['true', { env: { A: 'x'.repeat(140_000) } }, 'unsupported', 'longer than'],
    ['true', { env: { DROVER_EXEC: '1' } }, 'unsupported', 'DROVER_EXEC'],
    ['true', { stdin: 'x', tty: true }, 'unsupported', 'terminal'],
  ])('%s with %o does not run, and says why', async (program, options, code, words) => {
    const error = await failureOf(run([program], options))
    expect([error.code, error.ran]).toEqual([code, 'no'])
    expect(error.message).toContain(words)
  })

  test('a paused container is told as not running', async () => {
    startContainer(ctr, 'paused')
    const paused = await targetNamed('paused')
    ctr('tasks', 'pause', 'paused')
    try {
      expect(await failureOf(runOn(backend, paused, { argv: ['true'] }))).toMatchObject({ code: 'not_running', ran: 'no' })
      expect((await backend.list({}, soon())).map(({ name }) => name)).not.toContain('paused')
    } finally {
      ctr('tasks', 'resume', 'paused')
    }
  })

  test('a background child that holds the output does not hold the answer', async () => {
    const seconds = mark()
    const ran = await run(['sh', '-c', `sleep ${seconds} & echo done`])
    expect([`${ran.out}`, ran.code]).toEqual(['done\n', 0])
    const [handle] = ran.events.flatMap((event) => (event.type === 'started' ? [event.handle] : []))
    expect(await backend.kill(target, handle!, soon())).toEqual({ result: 'gone' })
    expect(commandsInside('web-1', `sleep ${seconds}`)).toEqual([])
  })

  test('[bounded] 100 executions at once in one container all end, eight at a time', async () => {
    const ran = await Promise.all(Array.from({ length: 100 }, (_, i) => run(['sh', '-c', `echo ${i}; exit ${i % 7}`])))
    expect(ran.map(({ out, code }) => [`${out}`, code])).toEqual(Array.from({ length: 100 }, (_, i) => [`${i}\n`, i % 7]))
  })

  test('[bounded] 300 MB of output arrive whole without being held', async () => {
    const before = process.memoryUsage().rss
    let bytes = 0
    let most = 0
    const command = { argv: ['head', '-c', '300000000', '/dev/zero'] } as const
    for await (const event of backend.exec(target, command, newExec(), AbortSignal.timeout(60_000))) {
      if (event.type === 'output') bytes += event.data.byteLength
      most = Math.max(most, process.memoryUsage.rss() - before)
    }
    expect(bytes).toBe(300_000_000)
    expect(most).toBeLessThan(150_000_000)
  })

  test('[bounded] a command whose output nobody takes waits', async () => {
    const text = 'i=0; while :; do head -c 65536 /dev/zero; i=$((i+1)); echo $i >/tmp/written; done'
    const { handle, events, connection } = await begin(backend, target, ['sh', '-c', text])
    const written = async () => Number(`${(await run(['cat', '/tmp/written'])).out}`)
    let last = -1
    await expect
      .poll(
        async () => {
          const now = await written()
          const isSame = now === last
          last = now
          return isSame
        },
        { interval: 300, timeout: 20_000 },
      )
      .toBe(true)
    expect(last).toBeLessThan(16)
    expect(await backend.kill(target, handle, soon())).toEqual({ result: 'gone' })
    connection.abort()
    await events.next().catch(() => undefined)
  })

  test('containerd has forgotten what ended, was refused, or was given up and killed; nothing is left on disk', async () => {
    const engine = engineOf(address, namespace)
    const state = (exec: string) => engine.state({ containerId: 'web-1', execId: execIdOf(exec) }, soon())
    const execs = [newExec(), newExec()]
    for await (const _ of backend.exec(target, { argv: ['true'] }, execs[0]!, soon()));
    await failureOf(
      (async () =>
        void (await backend
          .exec(target, { argv: ['nosuch'] }, execs[1]!, soon())
          [Symbol.asyncIterator]()
          .next()))(),
    )
    const { handle, events, connection } = await begin(backend, target, ['sh', '-c', `echo go; sleep ${mark()}; true`])
    connection.abort()
    await events.next().catch(() => undefined)
    expect(await backend.kill(target, handle, soon())).toEqual({ result: 'gone' })
    await expect
      .poll(async () => Promise.all([...execs, handle.exec].map(state)), { timeout: 10_000 })
      .toEqual(['absent', 'absent', 'absent'])
    expect(readdirSync(fifos)).toEqual([])
  })
})

describe('containerd: the end of what was started', () => {
  let target: Target
  let bare: Target
  beforeAll(async () => {
    target = await targetNamed('web-1')
    bare = await targetNamed('bare')
  })
  const mark = () => `${600_000 + Math.floor(Math.random() * 300_000)}`
  async function started(on: Target, argv: readonly [string, ...string[]], options = {}, of = backend) {
    const connection = new AbortController()
    const events = of.exec(on, { argv, ...options }, newExec(), connection.signal)[Symbol.asyncIterator]()
    const first = await events.next()
    if (first.done || first.value.type !== 'started') throw new Error('it did not start')
    const giveUp = async () => {
      connection.abort()
      await events.next().catch(() => undefined)
    }
    return { handle: first.value.handle, events, giveUp }
  }

  test('[gone-is-gone] S42 what runs as another user is ended as that user', async () => {
    const seconds = mark()
    const { handle, giveUp } = await started(
      target,
      ['sh', '-c', `trap '' TERM; setsid sleep ${seconds} & sleep ${seconds}; true`],
      {
        user: 'nobody',
      },
    )
    await expect.poll(() => commandsInside('web-1', `sleep ${seconds}`).length).toBeGreaterThan(1)
    expect(await backend.kill(target, handle, soon())).toEqual({ result: 'gone' })
    expect(commandsInside('web-1', `sleep ${seconds}`)).toEqual([])
    await giveUp()
  })

  test('[gone-is-gone] S42 a command that cleans its environment is found by its session', async () => {
    const seconds = mark()
    const text = `exec env -i /bin/sh -c 'sleep ${seconds} & sleep ${seconds}; true'`
    const { handle, giveUp } = await started(target, ['sh', '-c', text])
    await expect.poll(() => commandsInside('web-1', `sleep ${seconds}`).length).toBeGreaterThan(1)
    expect(await backend.kill(target, handle, soon())).toEqual({ result: 'gone' })
    expect(commandsInside('web-1', `sleep ${seconds}`)).toEqual([])
    await giveUp()
  })

  test('[gone-is-gone] where its pid is not known, one that cleans its environment is ended and not called proved', async () => {
    const seconds = mark()
    const { handle, giveUp } = await started(target, ['env', '-i', '/bin/sleep', seconds])
    await expect.poll(() => commandsInside('web-1', `sleep ${seconds}`).length).toBe(1)
    expect(await backend.kill(target, { target: handle.target, exec: handle.exec }, soon())).toEqual({ result: 'left' })
    expect(commandsInside('web-1', `sleep ${seconds}`)).toEqual([])
    await giveUp()
  })

  test('[gone-is-gone] without a shell in the container containerd ends it, and proves it by what is left there', async () => {
    const seconds = mark()
    const { handle, events, giveUp } = await started(bare, ['/bin/sleep', seconds])
    expect(await backend.kill(bare, handle, soon())).toEqual({ result: 'gone' })
    expect((await events.next()).value).toEqual({ type: 'exit', code: 137 })
    expect(commandsInside('bare', seconds)).toEqual([])
    await giveUp()
  })

  test('[gone-is-gone] without a shell a child that lives on is told', async () => {
    const seconds = mark()
    // busybox: the child is the one that watches the clock.
    const { handle, giveUp } = await started(bare, ['/bin/timeout', seconds, '/bin/sleep', seconds])
    await expect.poll(() => commandsInside('bare', seconds).length).toBe(2)
    expect(await backend.kill(bare, handle, soon())).toMatchObject({ result: 'left' })
    expect(commandsInside('bare', seconds)).toHaveLength(1)
    await giveUp()
    ctr('tasks', 'rm', '-f', 'bare')
    expect(await backend.kill(bare, handle, soon())).toEqual({ result: 'gone' })
  })

  test('S42 in a container that sees the host’s processes only the command’s are ended', async () => {
    const rootfs = rootOf(['busybox', 'sh', 'sleep', 'setsid', 'tr', 'grep'])
    folders.push(rootfs)
    startWithHostPids(ctr, 'host-pid', rootfs)
    const hostPid = await targetNamed('host-pid')
    expect(hostPid.privileged).toBe(true)
    const seconds = mark()
    const other = await started(hostPid, ['sleep', `${seconds}.5`])
    const { handle, giveUp } = await started(hostPid, ['sh', '-c', `setsid sleep ${seconds} & sleep ${seconds}; true`])
    await expect.poll(() => commandsInside('host-pid', `sleep ${seconds}`).length).toBeGreaterThan(2)
    expect(await backend.kill(hostPid, handle, soon())).toEqual({ result: 'gone' })
    expect(commandsInside('host-pid', `sleep ${seconds}`)).toEqual([`sleep ${seconds}.5`])
    await giveUp()
    expect(await backend.kill(hostPid, other.handle, soon())).toEqual({ result: 'gone' })
    await other.giveUp()
  })

  test('[true-ending] S41 a container that is killed, or removed, in the middle is never a success', async () => {
    for (const [id, end] of [
      ['killed', () => ctr('tasks', 'kill', '-s', 'KILL', 'killed')],
      ['removed', () => ctr('tasks', 'rm', '-f', 'removed')],
    ] as const) {
      startContainer(ctr, id)
      const victim = await targetNamed(id)
      const { handle, events } = await started(victim, ['sh', '-c', 'sleep 1000; exit 0'])
      end()
      const last = await events.next().then(
        ({ value }) => value,
        (error: unknown) => error,
      )
      if (last instanceof Error) expect(last).toMatchObject({ ran: 'maybe', code: 'stream_broken' })
      else expect(last).toEqual({ type: 'exit', code: 137 })
      expect(await backend.kill(victim, handle, soon())).toEqual({ result: 'gone' })
    }
  })

  test('[true-ending] S41 a containerd that dies in the middle leaves it unknown; when it is back, the command is found and ended', async () => {
    const own = ownContainerd()
    await own.start()
    const client = ctrAt(own.address, 'drover-test')
    try {
      const rootfs = rootOf(['busybox', 'sh', 'sleep', 'true'])
      folders.push(rootfs)
      startContainer(client, 'survivor', { rootfs, argv: ['/bin/sleep', '1000000'] })
      const there = connect({ address: own.address })
      const survivor = await targetNamed('survivor', there)
      const { handle, events } = await started(survivor, ['/bin/sh', '-c', 'sleep 1000; exit 0'], {}, there)
      await own.crash()
      const error = await failureOf(events.next())
      expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
      expect(await failureOf(Promise.resolve(there.list({}, soon())))).toMatchObject({ code: 'backend_unavailable' })
      await own.start()
      await expect.poll(() => there.list({}, soon()).catch(() => []), { timeout: 10_000 }).toHaveLength(1)
      expect(commandsInside('survivor', 'sleep 1000').length).toBeGreaterThan(0)
      expect(await there.kill(survivor, handle, soon())).toEqual({ result: 'gone' })
      expect(commandsInside('survivor', 'exit 0')).toEqual([])
      expect((await runOn(there, survivor, { argv: ['/bin/true'] })).code).toBe(0)
    } finally {
      await own.start().catch(() => {})
      removeContainers(client)
      await own.stop()
    }
  })

  test('[true-ending] S41 a shim that dies leaves it unknown, and what it ran is gone when that is said', async () => {
    startContainer(ctr, 'orphan')
    const orphan = await targetNamed('orphan')
    const seconds = mark()
    const { handle, events } = await started(orphan, ['sh', '-c', `sleep ${seconds}; exit 0`])
    process.kill(shimOf(ctr, 'orphan'), 'SIGKILL')
    const error = await failureOf(events.next())
    expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
    await expect
      .poll(() => backend.kill(orphan, handle, soon()).catch(() => undefined), { timeout: 20_000 })
      .toEqual({ result: 'gone' })
    expect(commandsInside('orphan', `sleep ${seconds}`)).toEqual([])
  })
})

describe('containerd: other ways in', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drover-cli-'))
  const config = join(folder, 'drover.yaml')
  folders.push(folder)
  writeFileSync(
    config,
    JSON.stringify({
      ledger: { path: join(folder, 'drover.db') },
      backends: { ctd: { kind: 'containerd', address, namespace } },
      rules: [{ id: 'all', effect: 'allow', who: { cli: true }, commands: ['...'], rights: ['shell'] }],
    }),
  )
  const cli = (...args: readonly string[]) =>
    spawnSync(process.execPath, ['src/cli.ts', args[0]!, '--config', config, ...args.slice(1)], {
      cwd: root,
      encoding: 'utf8',
      timeout: 60_000,
    })

  test('the command line prints both streams and exits with the command’s code', () => {
    const ran = cli('exec', 'on=ctd', 'name=web-1', 'cmd=echo out; echo err >&2; exit 3')
    expect(ran.stdout).toContain('out')
    expect(ran.stderr).toContain('err')
    expect(ran.status).toBe(3)
  })

  test('[gone-is-gone] a command that took too long is gone with its children when the command line returns', () => {
    const ran = cli('exec', 'on=ctd', 'name=web-1', 'timeout=1s', 'cmd=sleep 654321 & sleep 654321')
    expect(ran.status).toBe(124)
    expect(`${ran.stdout}${ran.stderr}`).toContain('proved gone')
    expect(commandsInside('web-1', 'sleep 654321')).toEqual([])
  })

  test('check says what this way means, and finds nothing wrong', () => {
    const ran = cli('check')
    expect(ran.stdout).toContain('the way to root')
    expect(ran.status).toBe(0)
  })

  test('Deno does the same', () => {
    const text = execFileSync(
      join(root, 'node_modules/.bin/deno'),
      ['run', '-A', 'test/engines/containerd-deno.ts', address, namespace, fifos, given('DOCKER_TEST_IMAGE')],
      {
        cwd: root,
        encoding: 'utf8',
        timeout: 60_000,
      },
    )
    expect(JSON.parse(text)).toEqual({
      plain: ['out\n', 'err\n', 3],
      stdin: ['a\nb', '', 0],
      large: [20_000_000, 0],
      terminal: ['terminal\r\n', '', 0],
      missing: 'command_not_found',
      made: ['fed', 'err\n', 4],
      many: Array.from({ length: 20 }, (_, i) => `${i}\n`),
      killed: ['gone', 0],
    })
    expect(readdirSync(fifos)).toEqual([])
  })
})

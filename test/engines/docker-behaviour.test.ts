/** What the docker backend promises beyond the contract, on a real engine. */

import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import { Inspected, isPrivileged } from '../../src/backends/docker/container.ts'
import { handleText } from '../../src/backends/docker/handle.ts'
import type { HttpRequest, Transports } from '../../src/backends/transport.ts'
import type { Command, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { matches, parseLabels } from '../../src/core/selector.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import { bareImage, docker, dockerWorld, image, named, processesIn, socketPath } from './docker-world.ts'

const outside = { transport: nodeTransport, machine: nodeMachine() }
const soon = () => AbortSignal.timeout(60_000)
const mark = () => `${600_000 + Math.floor(Math.random() * 300_000)}`

describe('Docker Engine', { timeout: 120_000 }, () => {
  const world = dockerWorld()
  const backend = dockerBackend({ name: 'engine', host: `unix://${socketPath}` }, outside)
  let web: Target
  let bare: Target
  beforeAll(async () => {
    web = await named(backend, world.run('web', ['--label', 'app=web', '--label', 'a.b/c=x y=z']))
    bare = await named(backend, world.run('bare', [], bareImage()))
  })
  afterAll(() => world.tearDown())
  const run = (command: Command, target = web, on: Backend = backend) => runOn(on, target, command, soon())
  const sh = (text: string, more: Partial<Command> = {}) => run({ argv: ['/bin/sh', '-c', text], ...more })

  test('[true-ending] 200 executions at once in one container all tell their own output and code', async () => {
    const late = AbortSignal.timeout(110_000)
    const ran = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        runOn(backend, web, { argv: ['/bin/sh', '-c', `echo ${i}; echo e${i} >&2; exit ${i}`] }, late),
      ),
    )
    expect(ran.map(({ out, err, code }) => `${out}${err}${code}`)).toEqual(ran.map((_, i) => `${i}\ne${i}\n${i}`))
  })

  test('[bounded] 100 MB of output go through with little memory', async () => {
    let bytes = 0
    let most = 0
    const before = process.memoryUsage().rss
    const command: Command = { argv: ['/bin/sh', '-c', 'head -c 104857600 /dev/zero; exit 5'] }
    let code: number | undefined
    for await (const event of backend.exec(web, command, newExec(), soon())) {
      if (event.type === 'exit') code = event.code
      if (event.type !== 'output') continue
      bytes += event.data.byteLength
      most = Math.max(most, process.memoryUsage().rss - before)
    }
    expect([bytes, code]).toEqual([104_857_600, 5])
    expect(most).toBeLessThan(150 * 1024 * 1024)
  })

  test('[bounded] output that nobody reads makes the command wait', async () => {
    const needle = `c ${40_000_000 + Number(mark())}`
    const { events, connection, handle } = await begin(backend, web, ['/bin/sh', '-c', `head -${needle} /dev/zero`])
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(processesIn(web.name, needle)).not.toEqual([])
    // An engine has done with a command only when what it wrote has been taken.
    const rest = (async () => {
      for (;;) if ((await events.next()).done) return
    })()
    expect(await backend.kill(web, handle, soon())).toEqual({ result: 'gone' })
    await rest
    connection.abort()
  })

  test('[gone-is-gone] a chatty command is ended while its reader stands still, told by its own code, and what was lost is counted', async () => {
    for (const text of [
      'while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done',
      "trap '' TERM; while :; do head -c 65536 /dev/zero; done",
    ]) {
      const { events, handle } = await begin(backend, web, ['/bin/sh', '-c', text])
      await new Promise((resolve) => setTimeout(resolve, 1500))
      expect(await backend.kill(web, handle, soon())).toEqual({ result: 'gone' })
      let dropped = 0
      let code: number | undefined
      for (let next = await events.next(); !next.done; next = await events.next()) {
        if (next.value.type === 'output') dropped += next.value.dropped ?? 0
        if (next.value.type === 'exit') code = next.value.code
      }
      expect([137, 143]).toContain(code)
      if (text.startsWith('trap')) expect(dropped).toBeGreaterThan(0)
    }
    expect(`${(await sh('echo on')).out}`).toBe('on\n')
  })

  test('a child in the background that keeps the output open does not keep the answer', async () => {
    const own = mark()
    const ran = await sh(`sleep ${own} & echo out; exit 4`)
    expect([`${ran.out}`, ran.code]).toEqual(['out\n', 4])
    expect(await backend.kill(web, ran.handle!, soon())).toEqual({ result: 'gone' })
    expect(processesIn(web.name, own)).toEqual([])
  })

  test('[true-ending] a command that closes its outputs and goes on is waited for', async () => {
    expect((await sh('exec >&- 2>&-; sleep 2; exit 3')).code).toBe(3)
  })

  test('[true-ending] words like an engine’s are the command’s own when it did run', async () => {
    expect((await sh('echo OCI runtime exec failed: not really; exit 126')).code).toBe(126)
    const ran = await sh('printf "OCI runtime exec failed"; exit 0')
    expect([`${ran.out}`, ran.code]).toEqual(['OCI runtime exec failed', 0])
  })

  test('[true-ending] S41 a command that goes on after its connection ended politely is waited for, and is no success', async () => {
    const relay = await startRelay(socketPath)
    const through = dockerBackend({ name: 'engine', host: `tcp://127.0.0.1:${relay.port}`, plaintext: true }, outside)
    const own = mark()
    const { events } = await begin(through, web, ['/bin/sh', '-c', `echo go; sleep 4; : ${own}; exit 0`])
    relay.cut('politely')
    const rest = (async () => {
      for (;;) if ((await events.next()).done) return
    })()
    const failure = await failureOf(rest)
    expect([failure.code, failure.ran]).toEqual(['stream_broken', 'maybe'])
    expect(failure.message).toContain('the engine says that it ended')
    expect(processesIn(web.name, own)).toEqual([])
    await relay.close()
  })

  test.each([
    [{ argv: ['/no/such', 'x'] }, 'command_not_found', '/no/such'],
    [{ argv: ['/etc/passwd'] }, 'command_not_found', '/etc/passwd'],
    [{ argv: ['true'], dir: '/no/dir' }, 'command_not_found', '/no/dir'],
    [{ argv: ['true'], user: 'bob' }, 'unsupported', 'bob'],
    [{ argv: ['true'], tty: true, stdin: 'x' }, 'unsupported', 'tty=1'],
    [{ argv: ['true', 'x'.repeat(200_000)] }, 'unsupported', '128 KiB'],
  ] as const)('what cannot be started is told as such, and did not run: %#', async (command, code, said) => {
    const failure = await failureOf(run(command))
    expect([failure.code, failure.ran]).toEqual([code, 'no'])
    expect(failure.message).toContain(said)
    expect(failure.next).toBeTruthy()
  })

  test('S45 a chosen user is who runs it, and a kill finds what that user runs', async () => {
    expect(`${(await run({ argv: ['id', '-u'], user: 'nobody' })).out}`).toBe('65534\n')
    const own = mark()
    const exec = newExec()
    const connection = new AbortController()
    const command: Command = { argv: ['/bin/sh', '-c', `echo go; setsid sleep ${own} & sleep ${own}`], user: 'nobody' }
    for await (const event of backend.exec(web, command, exec, connection.signal)) {
      if (event.type !== 'output') continue
      const handle = { target: web.id, exec }
      expect(processesIn(web.name, own)).not.toEqual([])
      expect(await backend.kill(web, handle, soon())).toEqual({ result: 'gone' })
      expect(processesIn(web.name, own)).toEqual([])
      break
    }
  })

  test('[gone-is-gone] the kill of a start that was given up leaves nothing that begins later', async () => {
    const own = mark()
    for (let round = 0; round < 8; round += 1) {
      const exec = newExec()
      const connection = new AbortController()
      const work = runOn(
        { ...backend, exec: (target, command, _, signal) => backend.exec(target, command, exec, signal) },
        web,
        { argv: ['sleep', own] },
        connection.signal,
      )
      work.catch(() => undefined)
      await new Promise((resolve) => setTimeout(resolve, round * 12))
      connection.abort()
      expect(await backend.kill(web, { target: web.id, exec }, soon())).toEqual({ result: 'gone' })
      await work.catch(() => undefined)
    }
    expect(processesIn(web.name, own)).toEqual([])
  })

  test('[gone-is-gone] a kill at the very first word finds what is only about to begin', async () => {
    const own = mark()
    for (let round = 0; round < 8; round += 1) {
      const connection = new AbortController()
      for await (const event of backend.exec(web, { argv: ['sleep', own] }, newExec(), connection.signal)) {
        if (event.type !== 'started') continue
        expect(await backend.kill(web, event.handle, soon())).toEqual({ result: 'gone' })
        break
      }
      expect(processesIn(web.name, own)).toEqual([])
    }
  })

  test('[gone-is-gone] what was made and never began may still begin: it is not said to be gone', async () => {
    const exec = newExec()
    const body = JSON.stringify({ Cmd: ['true'], Env: [`DROVER_EXEC=${exec}`] })
    const answer = execFileSync(
      process.execPath,
      [
        '-e',
        `require('http').request({ socketPath: process.argv[1], method: 'POST', path: process.argv[2], headers: { 'content-type': 'application/json' } }, (r) => r.pipe(process.stdout)).end(process.argv[3])`,
        socketPath,
        `/containers/${web.native}/exec`,
        body,
      ],
      { encoding: 'utf8' },
    )
    const { Id: id } = JSON.parse(answer) as { Id: string }
    const handle = { target: web.id, exec: handleText({ exec, id, user: undefined }) }
    expect(await backend.kill(web, handle, soon())).toEqual({ result: 'left' })
  })

  test('[gone-is-gone] S42 a command that wiped the mark off itself is not said to be gone while the engine sees it', async () => {
    const own = mark()
    const { handle, connection, events } = await begin(backend, web, ['/bin/sh', '-c', `echo go; exec env -i sleep ${own}`])
    await expect.poll(() => processesIn(web.name, `sleep ${own}`)).toHaveLength(1)
    const pid = Number(processesIn(web.name, `sleep ${own}`)[0]?.trim().split(/\s+/)[0])
    expect(await backend.kill(web, handle, soon())).toEqual({ result: 'left', pid })
    process.kill(pid, 'SIGKILL')
    connection.abort()
    await events.next().catch(() => undefined)
  })

  test('64 KiB and more of stdin arrive whole, and a command that reads none of it ends all the same', async () => {
    const stdin = 'äöü\n'.repeat(100_000)
    const ran = await run({ argv: ['wc', '-c'], stdin })
    expect(`${ran.out}`.trim()).toBe(String(Buffer.byteLength(stdin)))
    expect((await run({ argv: ['true'], stdin })).code).toBe(0)
  })

  test('[gone-is-gone] S42 without a shell inside it is left, with a pid to look for', async () => {
    const own = mark()
    const { handle, connection, work } = await sleepIn(own)
    const left = await backend.kill(bare, handle, soon())
    expect(left).toEqual({ result: 'left', pid: Number(processesIn(bare.name, own)[0]?.trim().split(/\s+/)[0]) })
    connection.abort()
    await work
  })

  test('[gone-is-gone] S42 a helper image, where an administrator named one, ends it and leaves nothing of its own', async () => {
    const own = mark()
    const { handle, connection, work } = await sleepIn(own)
    const helped = dockerBackend({ name: 'engine', host: `unix://${socketPath}`, helperImage: image }, outside)
    expect(await helped.kill(bare, handle, soon())).toEqual({ result: 'gone' })
    expect(processesIn(bare.name, own)).toEqual([])
    expect(docker('ps', '-aq', '--filter', 'label=drover.helper')).toBe('')
    connection.abort()
    await work
  })

  async function sleepIn(own: string) {
    const exec = newExec()
    const connection = new AbortController()
    const events = backend.exec(bare, { argv: ['sleep', own] }, exec, connection.signal)[Symbol.asyncIterator]()
    const first = await events.next()
    const handle = !first.done && first.value.type === 'started' ? first.value.handle : { target: bare.id, exec }
    await expect.poll(() => processesIn(bare.name, own)).toHaveLength(1)
    return { handle, connection, work: events.next().catch(() => undefined) }
  }

  test('[true-ending] a container that is stopped or removed while a command runs is no success', async () => {
    for (const [how, expected] of [
      [['kill'], /^exited 137$/],
      [['rm', '-f'], /^exited 137$|^maybe (backend_not_found|stream_broken)$/],
    ] as const) {
      const victim = await named(backend, world.run('victim'))
      const { events, handle } = await begin(backend, victim, ['/bin/sh', '-c', 'echo go; sleep 100; exit 0'])
      docker(...how, victim.name)
      const rest = async () => {
        for (;;) {
          const { value, done } = await events.next()
          if (done) return 'nothing'
          if (value.type === 'exit') return `exited ${value.code}`
        }
      }
      expect(await rest().catch((error) => `${error.ran} ${error.code}`)).toMatch(expected)
      expect(await backend.kill(victim, handle, soon())).toEqual({ result: 'gone' })
    }
  })

  test('a paused container is not listed, runs nothing, and what runs in it is not said to be gone', async () => {
    const sleeper = await named(backend, world.run('sleeper'))
    const { handle, connection, events } = await begin(backend, sleeper, ['/bin/sh', '-c', 'echo go; sleep 100; true'])
    docker('pause', sleeper.name)
    expect(await backend.list({ name: sleeper.name }, soon())).toEqual([])
    expect(await failureOf(run({ argv: ['true'] }, sleeper))).toMatchObject({ code: 'not_running', ran: 'no' })
    expect(await backend.kill(sleeper, handle, soon())).toMatchObject({ result: 'left' })
    docker('unpause', sleeper.name)
    expect(await backend.kill(sleeper, handle, soon())).toEqual({ result: 'gone' })
    connection.abort()
    await events.next().catch(() => undefined)
  })

  test('a selector finds the same containers whether the engine narrows it or not', async () => {
    world.run('web.2', [
      '--label',
      'app=web2',
      '--label',
      'com.docker.compose.project=shop',
      '--label',
      'com.docker.compose.service=api',
    ])
    world.run('task', ['--label', 'com.docker.stack.namespace=shop', '--label', 'com.docker.swarm.service.name=shop_worker'])
    const all = await backend.list({}, soon())
    for (const selector of [
      { labels: parseLabels('app=web') },
      { labels: parseLabels('a.b/c=x y=z') },
      { labels: parseLabels('app,app!=web') },
      { labels: parseLabels('app in (web,web2)') },
      { labels: parseLabels('web2') },
      { name: 'web*' },
      { name: 'web.?-*' },
      { name: '*(+[^$' },
      { id: web.native.slice(0, 12) },
      { facets: { stack: 'shop' } },
      { facets: { service: 'worker' } },
      { facets: { image: 'drover-test/*' } },
    ]) {
      const found = await backend.list(selector, soon())
      expect({ selector, found }).toEqual({ selector, found: all.filter((target) => matches(selector, target)) })
    }
    const api = all.find(({ facets }) => facets.service === 'api')
    expect(api?.facets).toMatchObject({ stack: 'shop', service: 'api', image, host: docker('info', '-f', '{{.Name}}') })
    expect(all.find(({ facets }) => facets.service === 'worker')?.facets.stack).toBe('shop')
  })

  test('S45 who has rights over the host is told as privileged', async () => {
    const strong: readonly (readonly string[])[] = [
      ['--privileged'],
      ['--pid', 'host'],
      ['--network', 'host'],
      ['--ipc', 'host'],
      ['--cap-add', 'SYS_ADMIN'],
      ['-v', `${socketPath}:/var/run/docker.sock`],
      ['-v', '/:/host'],
      ['-v', '/var:/data'],
      ['-v', '/var/lib/docker:/data'],
      ['-v', '/boot:/data'],
      // With it a node made by mknod is the disk.
      ['--device-cgroup-rule', 'b *:* rwm'],
    ]
    // Made, not started: not every machine that runs tests may give such rights away.
    const told = (options: readonly string[]) => {
      const id = docker('create', ...options, image, 'true')
      const [inspected] = JSON.parse(docker('inspect', id)) as unknown[]
      docker('rm', id)
      return isPrivileged(Inspected.parse(inspected))
    }
    expect(strong.filter((options) => !told(options))).toEqual([])
    expect([['--cap-add', 'NET_BIND_SERVICE'], ['-v', '/tmp:/data'], []].filter(told)).toEqual([])
    expect((await named(backend, world.run('strong', ['--pid', 'host']))).privileged).toBe(true)
    expect(web.privileged).toBeUndefined()
  })

  test('a run asks four times, and only what must not be asked twice has a connection of its own', async () => {
    const asked: string[] = []
    const relay = await startRelay(socketPath)
    const counting: Transports = (reach) => {
      const transport = nodeTransport(reach)
      const note = ({ method, url }: HttpRequest) =>
        asked.push(`${method} ${new URL(url).pathname.replace(/^\/v[\d.]+/, '').replaceAll(/[0-9a-f]{64}/g, '…')}`)
      return {
        ...transport,
        http(request) {
          note(request)
          return transport.http(request)
        },
        stream(request) {
          note(request)
          return transport.stream(request)
        },
      }
    }
    const through = dockerBackend(
      { name: 'engine', host: `tcp://127.0.0.1:${relay.port}`, plaintext: true },
      { ...outside, transport: counting },
    )
    for (let round = 0; round < 3; round += 1) {
      asked.length = 0
      const target = await named(through, web.name)
      expect((await runOn(through, target, { argv: ['true'] }, soon())).code).toBe(0)
    }
    expect(asked).toEqual(['GET /containers/json', 'POST /containers/…/exec', 'POST /exec/…/start', 'GET /exec/…/json'])
    // The list and the engine's name, asked at a time, each had one.
    expect(relay.openConnections()).toBeLessThanOrEqual(2)
    await relay.close()
  })

  test('S45 another container under the same name is looked at anew', async () => {
    const name = world.run('twin')
    expect((await named(backend, name)).privileged).toBeUndefined()
    expect((await named(backend, name)).privileged).toBeUndefined()
    docker('rm', '-f', name)
    docker('run', '-d', '--name', name, '--pid', 'host', image, 'sleep', '100000')
    expect((await named(backend, name)).privileged).toBe(true)
    expect((await named(backend, name)).privileged).toBe(true)
  })

  test('S45 who is in another container’s namespace has what that one has of the host', async () => {
    const [host, own] = [world.run('host', ['--pid', 'host']), world.run('own')]
    const within = async (of: string) => (await named(backend, world.run('within', ['--pid', `container:${of}`]))).privileged
    expect([await within(host), await within(own)]).toEqual([true, undefined])
  })

  test('[default-deny] a container is judged by the image it was made from, also when that name has gone to another', async () => {
    const name = `drover-test/moved-${mark()}:1`
    docker('tag', image, name)
    const made = world.run('moved', [], name)
    docker('tag', bareImage(), name)
    try {
      expect(docker('ps', '--filter', `name=${made}`, '--format', '{{.Image}}')).not.toBe(name)
      const select = (glob: string) => backend.list({ name: made, facets: { image: glob } }, soon())
      expect((await named(backend, made)).facets.image).toBe(name)
      expect((await select('drover-test/moved-*')).map((one) => one.name)).toEqual([made])
      expect(await select('sha256:*')).toEqual([])
    } finally {
      docker('rmi', name)
    }
  })

  test('[default-deny] S45 a container that was made from an image’s id goes by the image’s only name, and without one by the id', async () => {
    const own = dockerWorld()
    const from = docker('create', '-l', `mark=${mark()}`, image, 'true')
    const id = docker('commit', '-c', `LABEL mark=${mark()}`, from)
    docker('rm', from)
    const tag = `drover-test/by-id-${mark()}`
    const imageOf = async (name: string) => (await named(backend, name)).facets.image
    try {
      const nameless = own.run('nameless', [], id)
      expect(await imageOf(nameless)).toBe(id)
      docker('tag', id, `${tag}:1`)
      for (const written of [id, id.slice(7, 19)]) {
        const made = own.run('by-id', [], written)
        expect(await imageOf(made)).toBe(`${tag}:1`)
        const found = await backend.list({ name: made, facets: { image: `${tag}:*` } }, soon())
        expect(found.map(({ name }) => name)).toEqual([made])
      }
      docker('tag', id, `${tag}:2`)
      expect(await imageOf(own.run('by-id', [], id))).toBe(id)
    } finally {
      own.tearDown()
      docker('rmi', '-f', id)
    }
  })

  test('[true-ending] the code of a command that has closed its outputs long before its end is told', async () => {
    const ran = await sh('echo go; exec >&- 2>&-; sleep 4; exit 3')
    expect([`${ran.out}`, ran.code]).toEqual(['go\n', 3])
  })

  test('check tells the engine, and that a helper image is missing', async () => {
    const lines = await backend.check(soon())
    expect(lines.map(({ ok }) => ok)).toEqual([true, true, true, true])
    expect(JSON.stringify(lines)).toContain('root on that host')
    const other = dockerBackend({ name: 'engine', host: `unix://${socketPath}`, helperImage: 'no/such:1' }, outside)
    expect((await other.check(soon())).at(-1)).toMatchObject({ ok: false, what: expect.stringContaining('no/such:1') })
  })
})

test('[true-ending] S41 an engine that is killed while a command runs makes it unknown, never a success', {
  timeout: 120_000,
}, async () => {
  const folder = `/tmp/drover-victim-${process.pid}`
  const script = new URL('start-docker.sh', import.meta.url).pathname
  const env = { ...process.env, ENGINE_DIR: folder, ENGINE_SOCKET: `${folder}/docker.sock` }
  const engine = (verb: string) =>
    execFileSync('sh', [script, verb], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  engine('start')
  try {
    const other = (...args: string[]) =>
      execFileSync('docker', ['-H', `unix://${folder}/docker.sock`, ...args], { encoding: 'utf8' })
    other('run', '-d', '--name', 'victim', image, 'sleep', '100000')
    const backend = dockerBackend({ name: 'victim', host: `unix://${folder}/docker.sock` }, outside)
    const target = await named(backend, 'victim')
    const { events } = await begin(backend, target, ['/bin/sh', '-c', 'echo go; sleep 2; exit 0'])
    process.kill(Number(readFileSync(`${folder}/dockerd.pid`, 'utf8')), 'SIGKILL')
    const rest = (async () => {
      for (;;) if ((await events.next()).done) return
    })()
    expect(await failureOf(rest)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    expect(await failureOf(runOn(backend, target, { argv: ['true'] }))).toMatchObject({ code: 'backend_unavailable', ran: 'no' })
  } finally {
    engine('stop')
    rmSync(`${folder}.lock`, { force: true })
  }
})

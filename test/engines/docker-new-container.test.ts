/** Commands in containers made for them, on a real engine. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import { TransportError } from '../../src/backends/transport.ts'
import type { Command, ExecHandle } from '../../src/core/model.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec, runOn } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import { bareImage, docker, image, socketPath } from './docker-world.ts'
import { commandLine, newContainersByCommandLine } from './new-container-cli.ts'

const outside = { transport: nodeTransport, machine: nodeMachine() }
const soon = () => AbortSignal.timeout(60_000)
const newContainers = { networks: ['none', 'host'], memory: '64m', cpus: 0.5, processes: 50 }
const made = () => docker('ps', '-aq', '--filter', 'label=drover.helper')

describe('a command in a new container', { timeout: 120_000 }, () => {
  const backend = dockerBackend({ name: 'engine', host: `unix://${socketPath}`, newContainers }, outside)
  const target = backend.newContainer!({ image })
  const run = (command: Command, on = target) => runOn(backend, on, command, soon())
  const sh = (text: string, more: Partial<Command> = {}) => run({ argv: ['/bin/sh', '-c', text], ...more })
  afterEach(() => {
    // Each test leaves the engine as it was.
    expect(made()).toBe('')
  })

  test('both streams, the exit code, environment, directory, user and stdin', async () => {
    const ran = await sh('echo "$A $(pwd) $(id -u)"; cat; echo err >&2; exit 3', {
      env: { A: "x 'y'" },
      dir: '/tmp',
      user: 'nobody',
      stdin: 'fed\n',
    })
    expect([`${ran.out}`, `${ran.err}`, ran.code]).toEqual(["x 'y' /tmp 65534\nfed\n", 'err\n', 3])
    expect(ran.events[0]?.type).toBe('started')
  })

  test('short commands lose nothing: output and ending, time after time', async () => {
    for (let round = 0; round < 10; round += 1) {
      const ran = await sh(`echo ${round}; exit ${round}`)
      expect([`${ran.out}`, ran.code]).toEqual([`${round}\n`, round])
    }
  })

  test('[true-ending] the code of a command that has closed its outputs long before its end is told', async () => {
    const ran = await sh('echo go; exec >&- 2>&-; sleep 4; exit 3')
    expect([`${ran.out}`, ran.code]).toEqual(['go\n', 3])
  })

  test('it has what the configuration says and no more', async () => {
    const { out } = await sh(
      'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; ls /sys/class/net; grep NoNewPrivs /proc/self/status',
    )
    expect(`${out}`).toBe(`${64 * 1024 ** 2}\nlo\nNoNewPrivs:\t1\n`)
    expect(target).toMatchObject({ creates: { image, network: 'none', memoryBytes: 64 * 1024 ** 2, cpus: 0.5 } })
    expect(target.privileged).toBeUndefined()
  })

  describe('what an administrator takes away', () => {
    const under = (more: object) => {
      const bounded = dockerBackend(
        { name: 'engine', host: `unix://${socketPath}`, newContainers: { ...newContainers, ...more } },
        outside,
      )
      const place = (mounts?: string[]) => bounded.newContainer!({ image, ...(mounts ? { mounts } : {}) })
      return (text: string, mounts?: string[]) => runOn(bounded, place(mounts), { argv: ['/bin/sh', '-c', text] }, soon())
    }
    const caps = 'grep -E "Cap(Eff|Bnd)" /proc/self/status | cut -f2'

    test('S45 capabilities: those that are named are left and no others; without a word it has the usual ones', async () => {
      expect(`${(await under({})(caps)).out}`).toBe('00000000a80425fb\n'.repeat(2))
      expect(`${(await under({ capabilities: ['CHOWN', 'KILL'] })(caps)).out}`).toBe('0000000000000021\n'.repeat(2))
      expect(`${(await under({ capabilities: [] })(caps)).out}`).toBe('0000000000000000\n'.repeat(2))
    })

    test('S45 readOnly: nothing can be written but to a /tmp of 64 MiB, where programs can be run, and to mounts that say so', async () => {
      const run = under({
        memory: '256m',
        readOnly: true,
        mounts: { keep: { source: 'drover-test-ro', target: '/tmp/', writable: true } },
      })
      const text =
        'touch /x /bin/x 2>&1 | grep -c Read-only; cp /bin/echo /tmp/echo; /tmp/echo ran; head -c 99999999 /dev/zero >/tmp/big 2>/dev/null || echo full'
      expect(`${(await run(text)).out}`).toBe('2\nran\nfull\n')
      try {
        expect((await run('echo kept >/tmp/x', ['keep'])).code).toBe(0)
        expect(`${(await run('cat /tmp/x', ['keep'])).out}`).toBe('kept\n')
      } finally {
        docker('volume', 'rm', 'drover-test-ro')
      }
    })

    test('disk: an engine whose storage cannot limit it says so, and nothing ran', async () => {
      expect(await failureOf(under({ disk: '1g' })('true'))).toMatchObject({
        code: 'config',
        ran: 'no',
        message: expect.stringContaining('cannot limit what a new container writes'),
        next: expect.stringContaining('readOnly: true'),
      })
    })
  })

  test('[exact-argv] nothing of the image runs but what was judged: neither its entrypoint nor its health check', async () => {
    const name = 'drover-test/checked:1'
    const lines = ['ENTRYPOINT ["touch", "/entered"]', 'HEALTHCHECK --interval=1s --timeout=1s CMD touch /checked']
    try {
      const changes = lines.flatMap((line) => ['--change', line])
      const from = docker('create', image, 'true')
      docker('commit', ...changes, from, name)
      docker('rm', from)
      const { out } = await run({ argv: ['/bin/sh', '-c', 'sleep 3; ls /'] }, backend.newContainer!({ image: name }))
      expect(`${out}`).toContain('bin')
      expect(`${out}`).not.toMatch(/entered|checked/)
    } finally {
      docker('rmi', '-f', name)
    }
  })

  test('what only bears drover’s label, or a time before its own making, is swept by nobody', async () => {
    const own = docker('create', '--label', 'drover.helper=mine', image, 'true')
    const labels = (deadline: number) => ['--label', 'drover.helper=new', '--label', `drover.deadline=${deadline}`]
    const late = docker('create', ...labels(Date.now() + 1_000), image, 'true')
    // As an image does that was made of one of drover's containers.
    const inherited = docker('create', ...labels(1), image, 'true')
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    try {
      expect((await sh('true')).code).toBe(0)
      expect(docker('ps', '-aq', '--no-trunc').split('\n')).toEqual(expect.arrayContaining([own, inherited]))
      expect(docker('ps', '-aq', '--no-trunc').split('\n')).not.toContain(late)
    } finally {
      docker('rm', '-f', own, inherited)
    }
  })

  test('S45 bounds are bounds, and the host’s network is a right of its own', () => {
    expect(() => backend.newContainer!({ image, network: 'shop' })).toThrow(/not one for new containers/)
    expect(() => backend.newContainer!({ image, memoryBytes: 65 * 1024 ** 2 })).toThrow(/64m at most/)
    expect(() => backend.newContainer!({ image, cpus: 1 })).toThrow(/0.5 at most/)
    expect(backend.newContainer!({ image, network: 'host' }).privileged).toBe(true)
    expect(dockerBackend({ name: 'engine', host: `unix://${socketPath}` }, outside).newContainer).toBeUndefined()
  })

  test('what cannot be started is told as such, and did not run', async () => {
    expect(await failureOf(run({ argv: ['no-such-program'] }))).toMatchObject({ code: 'command_not_found', ran: 'no' })
    expect(await failureOf(run({ argv: ['true'], user: 'bob' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
    const missing = backend.newContainer!({ image: 'no/such:1' })
    expect(await failureOf(run({ argv: ['true'] }, missing))).toMatchObject({ code: 'backend_not_found', ran: 'no' })
  })

  test('[exact-argv] no entrypoint of the image stands before the command', async () => {
    const withEntrypoint = 'drover-test/entrypoint:1'
    execFileSync('sh', [
      '-c',
      'c=$(docker create "$1" true); docker commit -c \'ENTRYPOINT ["echo","entrypoint"]\' "$c" "$2" >/dev/null; docker rm "$c" >/dev/null',
      'sh',
      image,
      withEntrypoint,
    ])
    const ran = await run({ argv: ['echo', 'mine'] }, backend.newContainer!({ image: withEntrypoint }))
    expect(`${ran.out}`).toBe('mine\n')
  })

  test('[gone-is-gone] S42 a kill ends it with all that is in it, also in an image without a shell', async () => {
    for (const [from, argv] of [
      [image, ['/bin/sh', '-c', "trap '' TERM; setsid sleep 700001 & env -i sleep 700001 & echo go; wait; sleep 700001"]],
      [bareImage(), ['sleep', '700001']],
    ] as const) {
      const connection = new AbortController()
      const place = backend.newContainer!({ image: from })
      let handle: ExecHandle | undefined
      for await (const event of backend.exec(place, { argv }, newExec(), connection.signal)) {
        if (event.type === 'started') handle = event.handle
        if (event.type === 'started' && from === image) continue
        expect(await backend.kill(place, handle!, soon())).toEqual({ result: 'gone' })
        break
      }
      expect(alive('sleep 700001')).toEqual([])
    }
  })

  test.each(['/attach', '/wait'])(
    'an engine that goes away at %s has run nothing, in words, and nothing is left',
    async (path) => {
      const breaking: typeof nodeTransport = (reach) => {
        const way = nodeTransport(reach)
        const stream: typeof way.stream = (request) =>
          request.url.includes(path) ? Promise.reject(new TransportError('reset', 'docker: gone')) : way.stream(request)
        return { ...way, stream }
      }
      const engine = dockerBackend(
        { name: 'engine', host: `unix://${socketPath}`, newContainers },
        { ...outside, transport: breaking },
      )
      const error = await failureOf(runOn(engine, target, { argv: ['true'] }, soon()))
      expect([error.code, error.ran]).toEqual(['stream_broken', 'no'])
      expect(error.message).toBe('The connection broke before the start: docker: gone.')
    },
  )

  test('[gone-is-gone] what is given up at any moment leaves neither process nor container', async () => {
    for (let round = 0; round < 8; round += 1) {
      const connection = new AbortController()
      const exec = newExec()
      const work = (async () => {
        for await (const _ of backend.exec(target, { argv: ['sleep', '700002'] }, exec, connection.signal));
      })().catch((error: { ran: string }) => error.ran)
      await new Promise((resolve) => setTimeout(resolve, round * 60))
      connection.abort()
      expect(await backend.kill(target, { target: target.id, exec }, soon())).toEqual({ result: 'gone' })
      expect(await work).toMatch(/^(no|maybe)$/)
    }
    expect(alive('sleep 700002')).toEqual([])
    await expect.poll(made, { timeout: 10_000 }).toBe('')
  })

  test('[true-ending] S41 a connection that breaks is no success, and what ran is removed', async () => {
    const relay = await startRelay(socketPath)
    const through = dockerBackend(
      { name: 'engine', host: `tcp://127.0.0.1:${relay.port}`, plaintext: true, newContainers },
      outside,
    )
    const work = (async () => {
      for await (const event of through.exec(target, { argv: ['/bin/sh', '-c', 'echo go; sleep 2; exit 0'] }, newExec(), soon()))
        if (event.type === 'output') relay.cut('at once')
    })()
    expect(await failureOf(work)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    await relay.close()
  })

  test('[gone-is-gone] a chatty command is ended while its reader stands still', async () => {
    const exec = newExec()
    const text = "trap '' TERM; while :; do head -c 65536 /dev/zero; done"
    const events = backend.exec(target, { argv: ['/bin/sh', '-c', text] }, exec, soon())[Symbol.asyncIterator]()
    for (let next = await events.next(); !next.done && next.value.type !== 'output'; ) next = await events.next()
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(await backend.kill(target, { target: target.id, exec }, soon())).toEqual({ result: 'gone' })
    const seen: string[] = []
    for (let next = await events.next(); !next.done; next = await events.next()) seen.push(next.value.type)
    expect(seen.at(-1)).toBe('exit')
  })

  describe('mounts', () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-mount-'))
    writeFileSync(join(folder, 'file'), 'of the host\n')
    const mounts = {
      src: { source: folder, target: '/src' },
      out: { source: folder, target: '/out', writable: true as const },
      etc: { source: '/etc', target: '/host' },
      gone: { source: join(folder, 'gone'), target: '/gone' },
      keep: { source: 'drover-test-keep', target: '/keep', writable: true as const },
    }
    const mounting = dockerBackend(
      { name: 'engine', host: `unix://${socketPath}`, newContainers: { ...newContainers, mounts } },
      outside,
    )
    const on = (...names: string[]) => mounting.newContainer!({ image, mounts: names })
    const shOn = (text: string, ...names: string[]) => runOn(mounting, on(...names), { argv: ['/bin/sh', '-c', text] }, soon())
    afterAll(() => {
      rmSync(folder, { recursive: true })
      docker('volume', 'rm', 'drover-test-keep')
    })

    test('S45 what is asked for by name is there, and read-only unless the configuration says otherwise', async () => {
      const text =
        'cat /src/file; echo x >/src/new || echo src read-only; echo x >/out/new && echo out written; ls /keep /host 2>&1'
      const ran = await shOn(text, 'src', 'out')
      expect(`${ran.out}`).toContain('of the host\nsrc read-only\nout written\n')
      expect(`${ran.out}`).toContain('/keep: No such file or directory')
      expect(`${ran.out}`).toContain('/host: No such file or directory')
      expect((await shOn('echo kept >/keep/x', 'keep')).code).toBe(0)
      expect(`${(await shOn('cat /keep/x', 'keep')).out}`).toBe('kept\n')
    })

    test('S45 none is there that was not asked for', async () => {
      expect(`${(await shOn('ls /src /out 2>&1')).out}`).not.toContain('file\n')
    })

    test('S45 one that there is not is refused, and one that leads into the host is a right of its own', () => {
      expect(() => on('nope')).toThrow(/There is no mount nope/)
      expect(() => on('constructor')).toThrow(/There is no mount constructor/)
      expect(() => backend.newContainer!({ image, mounts: ['src'] })).toThrow(/There is no mount src/)
      expect([on('src').privileged, on('etc').privileged, on('src', 'etc').privileged]).toEqual([undefined, true, true])
      expect(on('src', 'src').name).toBe(`new container of ${image} with src`)
    })

    test('a folder that is not there is no folder made, and its path is not told', async () => {
      const failure = await failureOf(shOn('true', 'gone'))
      expect(failure).toMatchObject({ code: 'config', ran: 'no' })
      expect(JSON.stringify(failure.toFailure())).not.toContain(folder)
    })
  })

  test('what an ended drover left is removed by the next one when its time has passed, and not before', async () => {
    const leave = (deadline: number) =>
      docker('create', '--label', 'drover.helper=new', '--label', `drover.deadline=${deadline}`, image, 'true')
    const [old, young] = [leave(Date.now() + 1_000), leave(Date.now() + 600_000)]
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    await sh('true')
    expect(made().split('\n')).toEqual([young.slice(0, 12)])
    expect(old).not.toBe(young)
    docker('rm', young)
  })

  describe('by the command line', () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-new-'))
    afterAll(() => rmSync(folder, { recursive: true }))
    const drover = commandLine(folder, { kind: 'docker', host: `unix://${socketPath}`, newContainers: {} })
    newContainersByCommandLine(drover, { image, seconds: 700_003, alive })

    test('a file of the person who types is its stdin, and nothing is left behind', async () => {
      const volumes = docker('volume', 'ls', '-q')
      writeFileSync(join(folder, 'words'), 'x'.repeat(300_000))
      const { code, said } = await drover(`image=${image}`, `stdin=@${join(folder, 'words')}`, '--', 'wc', '-c')
      expect([code, /^300000$/m.test(said)]).toEqual([0, true])
      expect([made(), docker('volume', 'ls', '-q')]).toEqual(['', volumes])
      writeFileSync(join(folder, 'words'), 'x'.repeat(1024 * 1024 + 1))
      const refused = await drover(`image=${image}`, `stdin=@${join(folder, 'words')}`, '--', 'wc', '-c')
      expect([refused.code, refused.said]).toEqual([2, expect.stringContaining('larger than 1 MiB')])
    })
  })
})

/** On the whole machine: a container that is gone cannot be asked. */
function alive(needle: string): readonly string[] {
  return execFileSync('ps', ['-eo', 'pid,stat,args'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line) && !/vitest|ps -eo/.test(line))
}

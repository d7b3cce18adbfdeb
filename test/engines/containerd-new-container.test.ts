/** Commands in containers made for them, on a real containerd. */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type ContainerdOptions, containerd } from '../../src/backends/containerd/backend.ts'
import { execIdOf } from '../../src/backends/containerd/exec.ts'
import type { Command, ExecHandle, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec, runOn } from '../contract/backend.ts'
import { alive, commandsInside, ctrAt, given, importImage, ownContainerd, removeContainers, rootOf } from './containerd-engine.ts'
import { commandLine, newContainersByCommandLine } from './new-container-cli.ts'

const address = given('CONTAINERD_ADDRESS')
// Apart from what other tests make and remove.
const namespace = 'drover-new'
const ctr = ctrAt(address, namespace)
const soon = () => AbortSignal.timeout(60_000)
const fifos = mkdtempSync(join(tmpdir(), 'drover-fifos-'))
const roots = new Set<string>([fifos])
const bounds = { networks: ['none', 'host'], memory: '64m', cpus: 0.5, processes: 50, snapshotter: 'overlayfs' }
const image = 'drover-test/tools:1'

const connect = (options: { address?: string; newContainers?: ContainerdOptions['newContainers'] } = {}): Backend =>
  containerd(
    { name: 'ctd', address, namespace, parallel: 8, fifoDirectory: fifos, newContainers: bounds, ...options },
    { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups },
  )
const backend = connect()
const of = (name: string, more: { network?: string } = {}) => backend.newContainer!({ image: name, ...more })
const made = () => [
  ...ctr('containers', 'ls', '-q').split('\n').filter(Boolean),
  ...ctr('tasks', 'ls', '-q').split('\n').filter(Boolean),
  ...ctr('leases', 'ls', '-q').split('\n').filter(Boolean),
  ...ctr('snapshots', 'ls')
    .split('\n')
    .filter((line) => line.includes(' Active')),
  ...readdirSync(fifos),
]

function root(names: readonly string[], files: Readonly<Record<string, string>> = {}): string {
  const folder = rootOf(names)
  roots.add(folder)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  return folder
}

const TOOLS = [
  'busybox',
  ...'sh cat echo env id pwd ls grep true sleep setsid trap head wc mount unshare touch md5sum'.split(' '),
]

beforeAll(() => {
  try {
    ctr('namespaces', 'create', namespace)
  } catch {
    // A run before this one made it.
  }
  const passwd = 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nweb:x:33:44::/:/bin/sh\n'
  const group = 'root:x:0:\nweb:x:44:\nlogs:x:50:web\n'
  importImage(ctr, `docker.io/${image}`, {
    layers: [
      root(TOOLS, { 'etc/passwd': 'not:these\n' }),
      root(['true'], { 'etc/passwd': passwd, 'etc/group': group, 'data/a': 'A' }),
    ],
    config: {
      Env: ['FROM_IMAGE=yes', 'A=image'],
      WorkingDir: '/data',
      User: 'web',
      Entrypoint: ['/bin/echo', 'entrypoint'],
      Cmd: ['cmd'],
    },
  })
  importImage(ctr, 'docker.io/drover-test/bare:1', { layers: [root(['sleep'])] })
  importImage(ctr, 'docker.io/drover-test/by-number:1', {
    layers: [root(TOOLS, { 'etc/passwd': passwd, 'etc/group': group })],
    config: { User: '4711' },
  })
  importImage(ctr, 'docker.io/drover-test/packed:1', { layers: [root(['true'], { 'etc/only': 'here' })], flags: ['--no-unpack'] })
}, 60_000)
afterAll(() => {
  removeContainers(ctr)
  for (const lease of ctr('leases', 'ls', '-q').split('\n').filter(Boolean)) ctr('leases', 'delete', lease)
  for (const name of ctr('images', 'ls', '-q').split('\n').filter(Boolean)) ctr('images', 'rm', '--sync', name)
  for (const folder of roots) rmSync(folder, { recursive: true, force: true })
})

describe('containerd: a command in a new container', { timeout: 120_000 }, () => {
  const run = (command: Command, on: Target = of(image)) => runOn(backend, on, command, soon())
  const sh = (text: string, more: Partial<Command> = {}, on?: Target) => run({ argv: ['/bin/sh', '-c', text], ...more }, on)
  afterEach(() => {
    // Each test leaves containerd as it was: no container, task, lease, snapshot or pipe.
    expect(made()).toEqual([])
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

  test('an image’s environment, directory and user are what a command begins with, and its layers lie in order', async () => {
    const ran = await sh('echo "$FROM_IMAGE $A $(pwd) $(id -u):$(id -g) $(id -G)"; cat a')
    expect(`${ran.out}`).toBe('yes image /data 33:44 44 50\nA')
    expect(`${(await sh('id -u; id -g', {}, of('drover-test/by-number:1'))).out}`).toBe('4711\n0\n')
    expect(`${(await sh('id -u; id -g', { user: 'nobody:logs' })).out}`).toBe('65534\n50\n')
    expect(`${(await sh('id -u; id -g', { user: 'root' })).out}`).toBe('0\n0\n')
  })

  test('short commands lose nothing: output and ending, time after time', async () => {
    for (let round = 0; round < 10; round += 1) {
      const ran = await sh(`echo ${round}; exit ${round}`, { user: '0:0' })
      expect([`${ran.out}`, ran.code]).toEqual([`${round}\n`, round])
    }
  })

  test('1 MiB each way arrives whole, and a terminal is one', async () => {
    expect(`${(await run({ argv: ['wc', '-c'], stdin: 'é'.repeat(524_288), user: '0:0' })).out}`.trim()).toBe('1048576')
    expect((await run({ argv: ['head', '-c', '1048576', '/dev/zero'], user: '0:0' })).out.length).toBe(1_048_576)
    const terminal = await sh('[ -t 1 ] && echo terminal; cat; echo err >&2; exit 4', { tty: true, user: '0:0' })
    expect([`${terminal.out}`, terminal.code]).toEqual(['terminal\r\nerr\r\n', 4])
  })

  test('S45 it has what the configuration says and no more', async () => {
    const inside = await sh(
      'ls /sys/class/net; grep -E "NoNewPrivs|Seccomp:|CapEff" /proc/self/status; mount -t tmpfs x /tmp; unshare -m true; echo x >/proc/sys/kernel/hostname; cat /proc/kcore | head -c 1 | wc -c; touch /tmp/x && echo wrote',
      { user: '0:0' },
    )
    expect(`${inside.out}`).toBe('lo\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n0\nwrote\n')
    expect(`${inside.err}`).toMatch(/mount: permission denied/)
    expect(`${inside.err}`).toMatch(/unshare.*Operation not permitted/)
    expect(`${inside.err}`).toMatch(/hostname: Read-only file system/)
    const target = of(image)
    expect(target).toMatchObject({ creates: { image, network: 'none', memoryBytes: 64 * 1024 ** 2, cpus: 0.5 } })
    expect(target.privileged).toBeUndefined()
    expect((await sh('x=aaaaaaaa; while :; do x=$x$x; done', { user: '0:0' })).code).toBe(137)
    const many = await sh('i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all', { user: '0:0' })
    expect(`${many.out}${many.err}`).toMatch(/can't fork|Resource temporarily unavailable/)
  })

  test('S45 what an administrator takes away is not there: capabilities, and a file system to write to but for /tmp', async () => {
    const there = connect({ newContainers: { ...bounds, memory: '256m', capabilities: ['CHOWN'], readOnly: true } })
    const text =
      'grep CapBnd /proc/self/status | cut -f2; touch /x 2>&1 | grep -c Read-only; cp /bin/busybox /tmp/echo; /tmp/echo ran; head -c 99999999 /dev/zero >/tmp/big 2>/dev/null || echo full'
    const ran = await runOn(there, there.newContainer!({ image }), { argv: ['/bin/sh', '-c', text], user: '0:0' })
    expect([`${ran.out}`, ran.code]).toEqual(['0000000000000001\n1\nran\nfull\n', 0])
    const usual = await sh('grep CapBnd /proc/self/status | cut -f2; touch /x && echo written', { user: '0:0' })
    expect(`${usual.out}`).toBe('00000000a80425fb\nwritten\n')
  })

  test('S45 what of the machine it may see is named in the configuration, and read-only unless that says otherwise', async () => {
    const shown = root(['true'], { file: 'shown' })
    const mounts = { src: { source: shown, target: '/src' }, out: { source: shown, target: '/out', writable: true as const } }
    const there = connect({ newContainers: { ...bounds, mounts } })
    const place = there.newContainer!({ image, mounts: ['src', 'out'] })
    expect(place.privileged).toBeUndefined()
    const ran = await runOn(there, place, {
      argv: ['/bin/sh', '-c', 'cat /src/file; echo x >/src/file; echo written >/out/file; cat /src/file'],
      user: '0:0',
    })
    expect(`${ran.out}`).toBe('shownwritten\n')
    expect(`${ran.err}`).toContain('Read-only file system')
    expect(() => there.newContainer!({ image, mounts: ['etc'] })).toThrow(/no mount etc/)
    const missing = connect({ newContainers: { ...bounds, mounts: { gone: { source: '/nonexistent', target: '/gone' } } } })
    const error = await failureOf(
      runOn(missing, missing.newContainer!({ image, mounts: ['gone'] }), { argv: ['true'], user: '0:0' }),
    )
    expect([error.code, error.ran]).toEqual(['backend_unavailable', 'no'])
    expect(error.message).toContain('/nonexistent')
  })

  test('S45 bounds are bounds, and the host’s network is a right of its own', async () => {
    expect(() => of(image, { network: 'shop' })).toThrow(/not one for new containers/)
    expect(() => backend.newContainer!({ image, memoryBytes: 65 * 1024 ** 2 })).toThrow(/64m at most/)
    expect(() => backend.newContainer!({ image, cpus: 1 })).toThrow(/0.5 at most/)
    const host = of(image, { network: 'host' })
    expect(host.privileged).toBe(true)
    const own = readdirSync('/sys/class/net').sort().join('\n')
    expect(`${(await sh('ls /sys/class/net', { user: '0:0' }, host)).out}`.trim()).toBe(own)
    const without = connect({ newContainers: undefined })
    expect(without.newContainer).toBeUndefined()
    const refused = await failureOf(runOn(without, of(image), { argv: ['true'] }))
    expect([refused.code, refused.ran]).toEqual(['unsupported', 'no'])
  })

  test('what cannot be started is told as such, and did not run', async () => {
    const why = async (command: Command, on?: Target) => {
      const { code, ran } = await failureOf(run(command, on))
      expect(ran).toBe('no')
      return code
    }
    expect(await why({ argv: ['no-such-program'] })).toBe('command_not_found')
    expect(await why({ argv: ['/etc/passwd'] })).toBe('command_not_found')
    expect(await why({ argv: ['true'], dir: '/etc/passwd' })).toBe('command_not_found')
    expect(await why({ argv: ['true'], dir: 'tmp' })).toBe('unsupported')
    expect(await why({ argv: ['true'], user: 'bob' })).toBe('unsupported')
    expect(await why({ argv: ['sleep', '0'], user: 'bob' }, of('drover-test/bare:1'))).toBe('unsupported')
    expect(await why({ argv: ['true'], env: { DROVER_EXEC: '1' } })).toBe('unsupported')
  })

  test('an image that is not there, or not unpacked, is told with what to do; nothing is pulled', async () => {
    const missing = await failureOf(run({ argv: ['true'] }, of('no/such:1')))
    expect([missing.code, missing.ran]).toEqual(['backend_not_found', 'no'])
    expect(missing.next).toContain(`ctr -n ${namespace} images pull`)
    const packed = await failureOf(run({ argv: ['true'] }, of('drover-test/packed:1')))
    expect([packed.code, packed.ran]).toEqual(['backend_not_found', 'no'])
    expect(packed.message).toContain('not unpacked')
  })

  test('a snapshotter that is not there is told, by check as well', async () => {
    const lines = (of: Backend) => of.check(soon())
    expect((await lines(backend)).map(({ what }) => what)).toContain('new containers can be made with the snapshotter overlayfs')
    const other = connect({ newContainers: { ...bounds, snapshotter: 'no-such' } })
    const error = await failureOf(runOn(other, of(image), { argv: ['true'] }))
    expect([error.code, error.ran]).toEqual(['config', 'no'])
    expect((await lines(other)).find(({ ok }) => ok === false)?.what).toBe(error.message)
  })

  test('an image is meant by its short name, its whole name, or its content; a name with another content is none', async () => {
    const digest = /sha256:[0-9a-f]{64}/.exec(ctr('images', 'ls', `name==docker.io/${image}`))?.[0] ?? ''
    for (const name of [image, `docker.io/${image}`, `drover-test/tools@${digest}`, `${image}@${digest}`])
      expect((await run({ argv: ['true'], user: '0:0' }, of(name))).code).toBe(0)
    // Whoever may name images may name one like this.
    ctr('images', 'tag', 'docker.io/drover-test/bare:1', `docker.io/drover-test/bare@${digest}`)
    for (const name of [`drover-test/bare@${digest}`, `drover-test/tools@sha256:${'0'.repeat(64)}`, 'drover-test/tools'])
      expect((await failureOf(run({ argv: ['true'], user: '0:0' }, of(name)))).code).toBe('backend_not_found')
  })

  test('[exact-argv] no entrypoint of the image stands before the command', async () => {
    expect(`${(await run({ argv: ['echo', 'mine', '$(id)'] })).out}`).toBe('mine $(id)\n')
  })

  test('[gone-is-gone] S42 a kill ends it with all that is in it, also in an image without a shell', async () => {
    for (const [from, argv] of [
      [image, ['/bin/sh', '-c', "trap '' TERM; setsid sleep 710001 & env -i sleep 710001 & echo go; wait; sleep 710001"]],
      ['drover-test/bare:1', ['/bin/sleep', '710001']],
    ] as const) {
      const connection = new AbortController()
      const place = of(from)
      let handle: ExecHandle | undefined
      let code: number | undefined
      for await (const event of backend.exec(place, { argv, user: '0:0' }, newExec(), connection.signal)) {
        if (event.type === 'started') handle = event.handle
        if (event.type === 'exit') code = event.code
        if (event.type === 'exit' || (event.type === 'started' && from === image)) continue
        expect(await backend.kill(place, handle!, soon())).toEqual({ result: 'gone' })
        expect(alive('sleep 710001')).toEqual([])
      }
      // Its last words are read to their end.
      expect(code).toBe(137)
    }
  })

  test('[gone-is-gone] a command that minds TERM ends by it, with time for its last words', async () => {
    const place = of(image)
    const said: string[] = []
    for await (const event of backend.exec(
      place,
      { argv: ['/bin/sh', '-c', 'trap "echo bye; exit 5" TERM; echo go; while :; do sleep 0.1; done'], user: '0:0' },
      newExec(),
      soon(),
    )) {
      if (event.type === 'output') said.push(`${Buffer.from(event.data)}`)
      if (event.type === 'exit') said.push(`${event.code}`)
      if (event.type === 'started') void sleep(300).then(() => backend.kill(place, event.handle, soon()))
    }
    expect(said.join('')).toMatch(/^go\n(Terminated\n)?bye\n(Terminated\n)?5$/)
  })

  test('[gone-is-gone] what is given up at any moment leaves neither process nor container', async () => {
    const target = of(image)
    const argv = ['/bin/sh', '-c', 'trap "exit 0" TERM; sleep 710002 & wait'] as const
    for (let round = 0; round < 20; round += 1) {
      const connection = new AbortController()
      const exec = newExec()
      const work = (async () => {
        for await (const _ of backend.exec(target, { argv, user: '0:0' }, exec, connection.signal));
      })().catch((error: { ran: string }) => error.ran)
      await sleep(round * 10)
      connection.abort()
      expect(await backend.kill(target, { target: target.id, exec }, soon())).toEqual({ result: 'gone' })
      expect(alive('sleep 710002')).toEqual([])
      expect(await work).toMatch(/^(no|maybe)$/)
    }
    await expect.poll(() => alive(`shim-runc-v2 -namespace ${namespace} `)).toEqual([])
  })

  test('[gone-is-gone] another drover ends and removes what one that is gone has left running', async () => {
    const exec = newExec()
    const connection = new AbortController()
    const first = connect()
    const events = first
      .exec(of(image), { argv: ['sleep', '710003'], user: '0:0' }, exec, connection.signal)
      [Symbol.asyncIterator]()
    await events.next()
    expect(alive('sleep 710003')).toHaveLength(1)
    expect(await backend.kill(of(image), { target: of(image).id, exec }, soon())).toEqual({ result: 'gone' })
    expect(ctr('containers', 'ls', '-q')).not.toContain(execIdOf(exec))
    expect(alive('sleep 710003')).toEqual([])
    // Whoever still reads is told the truth.
    const last = await events.next().then(
      ({ value }) => value,
      (error: unknown) => error,
    )
    if (last instanceof Error) expect(last).toMatchObject({ ran: 'maybe' })
    else expect(last).toEqual({ type: 'exit', code: 137 })
    await events.return?.()
  })

  test('[true-ending] S41 a container that is removed in the middle is no success', async () => {
    const exec = newExec()
    const events = backend.exec(of(image), { argv: ['/bin/sh', '-c', 'sleep 710004; exit 0'], user: '0:0' }, exec, soon())
    const iterator = events[Symbol.asyncIterator]()
    await iterator.next()
    ctr('tasks', 'rm', '-f', execIdOf(exec))
    const last = await iterator.next().then(
      ({ value }) => value,
      (error: unknown) => error,
    )
    if (last instanceof Error) expect(last).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    else expect(last).toEqual({ type: 'exit', code: 137 })
    await iterator.return?.()
  })

  test('what an ended drover left is removed when its time has passed, and not before', async () => {
    const labelled = (deadline: number, exec: string) => [
      ...['--label', 'drover.helper=new', '--label', `drover.deadline=${deadline}`, '--label', `drover.exec=${exec}`],
    ]
    const leave = (deadline: number, exec: string, id = execIdOf(exec)) => {
      const of = ['docker.io/drover-test/bare:1', id, '/bin/sleep', '710008']
      ctr('containers', 'create', '--snapshotter', 'overlayfs', ...labelled(deadline, exec), ...of)
      return id
    }
    const late = Date.now() - 1000
    const old = leave(late, '01d')
    ctr('tasks', 'start', '-d', old)
    const young = leave(Date.now() + 600_000, '7006')
    // As a container has them whose image was made of one of drover's.
    const copy = leave(late, '01d', 'web-copy')
    ctr('tasks', 'start', '-d', copy)
    const others = [young, copy, 'not-ours'].sort()
    ctr('containers', 'create', '--label', 'drover.deadline=1', 'docker.io/drover-test/bare:1', 'not-ours')
    await backend.sweep!(soon())
    expect(ctr('containers', 'ls', '-q').trim().split('\n').sort()).toEqual(others)
    expect(commandsInside(copy, 'sleep 710008')).toHaveLength(1)
    leave(late, '01d')
    await sh('true', { user: '0:0' })
    expect(ctr('containers', 'ls', '-q').trim().split('\n').sort()).toEqual(others)
    expect(ctr('snapshots', 'ls')).not.toContain(old)
    removeContainers(ctr)
  })

  test('it may last as long as its time limit and some minutes, and when its end is told nothing is left of it', async () => {
    const before = Date.now()
    let deadline = 0
    for await (const event of backend.exec(of(image), { argv: ['true'], user: '0:0' }, newExec(), soon(), undefined, 60_000)) {
      if (event.type === 'started') {
        const [id = ''] = ctr('containers', 'ls', '-q').trim().split('\n')
        deadline = Number(JSON.parse(ctr('containers', 'info', id)).Labels['drover.deadline'])
      }
      if (event.type === 'exit') expect(made()).toEqual([])
    }
    expect(deadline - before).toBeGreaterThanOrEqual(360_000)
    expect(deadline - before).toBeLessThan(400_000)
  })

  test('containers that drover made are the platform’s own in a list', async () => {
    const events = backend.exec(of(image), { argv: ['sleep', '710005'], user: '0:0' }, newExec(), soon())[Symbol.asyncIterator]()
    await events.next()
    expect((await backend.list({}, soon())).map(({ system }) => system)).toEqual([true])
    await events.return?.()
  })

  test('[true-ending] S41 a containerd that dies in the middle leaves it unknown; the next one finds it', async () => {
    const own = ownContainerd()
    await own.start()
    const client = ctrAt(own.address, namespace)
    try {
      client('namespaces', 'create', namespace)
      importImage(client, 'docker.io/drover-test/bare:1', { layers: [root(['sleep'])] })
      const there = connect({ address: own.address })
      const place = there.newContainer!({ image: 'drover-test/bare:1' })
      const events = there.exec(place, { argv: ['/bin/sleep', '710006'] }, newExec(), soon())[Symbol.asyncIterator]()
      const first = await events.next()
      await own.crash()
      const error = await failureOf(events.next())
      expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
      await own.start()
      await expect
        .poll(() => there.kill(place, (first.value as { handle: ExecHandle }).handle, soon()).catch(() => undefined), {
          timeout: 15_000,
        })
        .toEqual({ result: 'gone' })
      expect(alive('sleep 710006')).toEqual([])
      expect(client('containers', 'ls', '-q')).toBe('')
    } finally {
      await own.start().catch(() => {})
      removeContainers(client)
      await own.stop()
    }
  })

  describe('by the command line', () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-new-'))
    roots.add(folder)
    const backend = { kind: 'containerd', address, namespace, fifoDirectory: fifos, newContainers: {} }
    newContainersByCommandLine(commandLine(folder, backend, ['shell', 'user']), { image, seconds: 710_007, alive })
  })
})

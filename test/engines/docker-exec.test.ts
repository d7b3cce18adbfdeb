/** Commands in containers from a program, on a real engine: what the library promises beyond what its page shows. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import {
  type Command,
  docker as dockerEngine,
  ExitError,
  exec,
  over,
  StartError,
  StoppedError,
  UnknownError,
  UsageError,
} from '../../src/exec.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { startRelay } from './docker-relay.ts'
import { bareImage, docker, dockerWorld, image, processesIn, socketPath } from './docker-world.ts'

const on = dockerEngine({ host: `unix://${socketPath}` })
const made = () => docker('ps', '-aq', '--filter', 'label=drover.helper')
const failed = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'nothing was thrown',
    (error: unknown) => error,
  )
const sh = (text: string, more: object = {}) => exec(['sh', '-c', text], { on, image, ...more })

describe('exec() on a Docker Engine', { timeout: 120_000 }, () => {
  const world = dockerWorld()
  let web = ''
  beforeAll(() => {
    web = world.run('web')
  })
  afterAll(() => {
    world.tearDown()
    expect(made()).toBe('')
  })

  test('[true-ending] 0 settles, any other code throws with the end of stderr, in a container of its own and in one that runs', async () => {
    for (const where of [{ image }, { container: web }]) {
      await exec(['true'], { on, ...where }).run()
      const text = 'i=0; while [ $i -lt 9000 ]; do echo err $i >&2; i=$((i+1)); done; exit 7'
      const error = await failed(exec(['sh', '-c', text], { on, ...where }).output())
      expect(error).toBeInstanceOf(ExitError)
      const { exitCode, stderr } = error as ExitError
      expect([exitCode, stderr.length, stderr.endsWith('err 8999\n')]).toEqual([7, 32 * 1024, true])
    }
  })

  test('S45 readOnly and capabilities take away, and without them a container has what Docker gives', async () => {
    const text = 'grep CapBnd /proc/self/status | cut -f2; touch /x 2>/dev/null && echo written; touch /tmp/x && echo tmp'
    expect(await sh(text).text()).toBe('00000000a80425fb\nwritten\ntmp\n')
    expect(await sh(text, { readOnly: true, capabilities: ['CHOWN'] }).text()).toBe('0000000000000001\ntmp\n')
  })

  test('stdout alone, both together, and bytes as they are', async () => {
    const both = 'echo out; sleep 0.2; echo err >&2'
    expect(await sh(both).text()).toBe('out\n')
    expect(new TextDecoder().decode(await sh(both).combinedOutput())).toBe('out\nerr\n')
    const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i % 256)
    expect(await exec(['cat'], { on, image, stdin: bytes }).output()).toEqual(bytes)
    expect(await exec(['cat'], { on, container: web, stdin: bytes }).output()).toEqual(bytes)
  })

  test('what cannot be started is a StartError, and nothing of it is left', async () => {
    for (const [command, code] of [
      [exec(['no-such'], { on, image }), 'command_not_found'],
      [exec(['no-such'], { on, container: web }), 'command_not_found'],
      [exec(['true'], { on, image: 'no/such:1' }), 'backend_not_found'],
      [exec(['true'], { on, container: 'no-such' }), 'backend_not_found'],
      [exec(['true'], { on, image, dir: 'relative' }), 'unsupported'],
      [exec(['true'], { on, image, network: 'no-such' }), 'config'],
      [exec(['true'], { on: dockerEngine({ host: 'unix:///no/such.sock' }), image }), 'backend_unavailable'],
      [exec(['true'], { on, image, mounts: [{ source: '/no/such/folder', target: '/data' }] }), 'config'],
    ] as const) {
      const error = await failed(command.run())
      expect(error).toBeInstanceOf(StartError)
      expect((error as StartError).code).toBe(code)
    }
    expect(made()).toBe('')
    expect(await failed(exec(['true'], { on, image: 'no/such:1' }).start())).toBeInstanceOf(StartError)
  })

  test('it has what it was given: environment, directory, user, limits, mounts, and no network', async () => {
    const text =
      'echo "$A $(pwd) $(id -u)"; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; ls /sys/class/net; ls /data; touch /data/x 2>/dev/null || echo read-only'
    const out = await sh(text, {
      env: { A: 'a b' },
      dir: '/tmp',
      user: 'nobody',
      memoryBytes: 64 * 1024 ** 2,
      mounts: [{ source: import.meta.dirname, target: '/data' }],
    }).text()
    expect(out.split('\n').slice(0, 3)).toEqual(['a b /tmp 65534', String(64 * 1024 ** 2), 'lo'])
    expect(out).toContain('docker-exec.test.ts\n')
    expect(out).toContain('read-only\n')
    expect(
      await sh('cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true').text(),
    ).toMatch(/^(max|\d{16,})\n$/)
  })

  test('[bounded] a pipe that nobody reads makes the command wait, and loses nothing to a slow reader', async () => {
    const cmd = sh('i=0; while [ $i -lt 3000 ]; do echo "$i $(printf %01000d 0)"; i=$((i+1)); done; echo done >&2')
    const stdout = cmd.stdoutPipe()
    await cmd.start()
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const running = docker('inspect', '-f', '{{.State.Running}}', cmd.containerId ?? '')
    let lines = 0
    for await (const text of stdout.pipeThrough(new TextDecoderStream())) lines += text.split('\n').length - 1
    await cmd.wait()
    expect([running, lines]).toEqual(['true', 3000])
  })

  test('[bounded] more output than was allowed for ends the command, and says so', async () => {
    const error = await failed(
      sh('while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done', { maxOutputBytes: 100_000 }).output(),
    )
    expect(error).toMatchObject({ name: 'OutputLimitError', reason: 'output', left: undefined })
    expect(error).toBeInstanceOf(StoppedError)
  })

  test('[gone-is-gone] S42 a timeout, an abort, a kill and the end of a scope leave no process and no container', async () => {
    const text = "trap '' TERM; setsid sleep 700011 & echo go; sleep 700011; sleep 700011"
    for (const where of [{ image }, { container: web }]) {
      const controller = new AbortController()
      const make = (more: object): Command => exec(['sh', '-c', text], { on, ...where, ...more })
      const late = make({ timeoutMs: 1_500 })
      expect(await failed(late.run())).toMatchObject({ name: 'TimeoutError', left: undefined })
      const aborted = make({ signal: controller.signal })
      await aborted.start()
      controller.abort(new Error('enough'))
      expect(await failed(aborted.wait())).toMatchObject({ name: 'AbortError', left: undefined, cause: { message: 'enough' } })
      const killed = make({})
      const out = killed.stdoutPipe().getReader()
      await killed.start()
      await out.read()
      expect(await killed.kill()).toEqual({ result: 'gone' })
      expect(await failed(killed.wait())).toMatchObject({ name: 'KilledError' })
      {
        await using left = make({})
        await left.start()
      }
      expect(processesIn(web, 'sleep 700011')).toEqual([])
      expect(made()).toBe('')
    }
  })

  test('[gone-is-gone] S42 what cannot be proved gone is said to be left', async () => {
    const bare = world.run('bare', [], bareImage())
    const error = await failed(exec(['sleep', '700012'], { on, container: bare, timeoutMs: 1_500 }).run())
    const pid = Number(processesIn(bare, 'sleep 700012')[0]?.trim().split(/\s+/)[0])
    expect(error).toMatchObject({ name: 'TimeoutError', left: { pid } })
  })

  test('[gone-is-gone] what is stopped at any moment of its beginning leaves nothing', async () => {
    for (let round = 0; round < 8; round += 1) {
      const controller = new AbortController()
      const cmd = exec(['sleep', '700013'], { on, image, signal: controller.signal })
      const work = failed(cmd.run())
      await new Promise((resolve) => setTimeout(resolve, round * 60))
      controller.abort()
      expect(await work).toMatchObject({ name: 'AbortError', left: undefined })
      expect(made()).toBe('')
    }
    const before = exec(['true'], { on, image, signal: AbortSignal.abort() })
    expect(await failed(before.run())).toMatchObject({ name: 'AbortError' })
  })

  test('[true-ending] S41 a connection that breaks is an UnknownError, and its pipe breaks too', async () => {
    const relay = await startRelay(socketPath)
    const through = dockerEngine({ host: `tcp://127.0.0.1:${relay.port}`, plaintext: true })
    for (const where of [{ image }, { container: web }]) {
      const cmd = exec(['sh', '-c', 'echo go; sleep 4; exit 0'], { on: through, ...where })
      const reader = cmd.stdoutPipe().getReader()
      await cmd.start()
      await reader.read()
      relay.cut('at once')
      expect(await failed(cmd.wait())).toBeInstanceOf(UnknownError)
      expect(await failed(reader.read())).toBeInstanceOf(UnknownError)
    }
    await relay.close()
  })

  test('a source that fails ends the command before it takes a part for the whole', async () => {
    async function* source() {
      yield 'one\n'
      throw new Error('the disk is gone')
    }
    for (const where of [{ image }, { container: web }]) {
      const error = await failed(exec(['sh', '-c', 'cat >/tmp/part; echo whole'], { on, ...where, stdin: source() }).text())
      expect(error).toMatchObject({ message: 'the disk is gone' })
    }
  })

  test('a command that reads none of its input ends all the same, and lets go of the source', async () => {
    let isLetGo = false
    async function* source() {
      try {
        for (;;) {
          yield 'x'.repeat(65_536)
          await new Promise((resolve) => setTimeout(resolve, 1))
        }
      } finally {
        isLetGo = true
      }
    }
    await exec(['true'], { on, image, stdin: source() }).run()
    await expect.poll(() => isLetGo).toBe(true)
  })

  test('a reader that leaves early holds nothing up', async () => {
    const cmd = sh('i=0; while [ $i -lt 3000 ]; do echo "$i $(printf %01000d 0)"; i=$((i+1)); done')
    const stdout = cmd.stdoutPipe()
    await cmd.start()
    for await (const _ of stdout) break
    await cmd.wait()
  })

  test('a command is used once, and in order', async () => {
    const cmd = exec(['true'], { on, image })
    expect(await failed(cmd.wait())).toBeInstanceOf(UsageError)
    await cmd.run()
    expect(() => cmd.start()).toThrow(UsageError)
    expect(() => cmd.stdoutPipe()).toThrow(UsageError)
    expect(await cmd.kill()).toEqual({ result: 'gone' })
    expect(() => exec(['true'], { on, image, timeoutMs: 0 })).toThrow(UsageError)
    const piped = exec(['true'], { on, image, stdin: 'x' })
    piped.stdoutPipe()
    expect(() => piped.stdinPipe()).toThrow(UsageError)
    expect(await failed(piped.output())).toBeInstanceOf(UsageError)
  })

  test('what a program that died has left bears its deadline, five minutes after its own', async () => {
    const cmd = exec(['sleep', '100'], { on, image, timeoutMs: 60_000 })
    const before = Date.now()
    await cmd.start()
    const deadline = Number(docker('inspect', '-f', '{{index .Config.Labels "drover.deadline"}}', cmd.containerId ?? ''))
    await cmd.kill()
    expect(deadline - before).toBeGreaterThanOrEqual(360_000)
    expect(deadline - before).toBeLessThan(390_000)
  })

  test('on Deno as on Node', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-exec-deno-'))
    const library = new URL('../../src/exec.ts', import.meta.url).href
    const text = `import { docker, exec } from '${library}'
      const on = docker({ host: 'unix://${socketPath}' })
      const cmd = exec(['cat'], { on, image: '${image}' })
      const [input, output] = [cmd.stdinPipe().getWriter(), cmd.stdoutPipe()]
      await cmd.start()
      await input.write('piped')
      await input.close()
      console.log(await new Response(output).text())
      await cmd.wait()
      await exec(['sleep', '700015'], { on, container: '${web}', timeoutMs: 1500 }).run().catch((error) => console.log(error.name, error.left))`
    const program = join(folder, 'program.ts')
    writeFileSync(program, text)
    const deno = fileURLToPath(new URL('../../node_modules/.bin/deno', import.meta.url))
    const config = fileURLToPath(new URL('../../deno.json', import.meta.url))
    const { stdout } = await promisify(execFile)(deno, ['run', '-A', '--quiet', '--no-lock', '--config', config, program])
    rmSync(folder, { recursive: true })
    expect(stdout).toBe('piped\nTimeoutError undefined\n')
  })

  test('any backend runs commands in containers that run, with text as stdin', async () => {
    const backend = dockerBackend(
      { name: 'd', host: `unix://${socketPath}` },
      { transport: nodeTransport, machine: nodeMachine() },
    )
    const through = over(backend)
    expect(await exec(['cat'], { on: through, container: web, stdin: 'text' }).text()).toBe('text')
    expect(await failed(exec(['cat'], { on: through, container: web, stdin: new Uint8Array([0xff]) }).run())).toBeInstanceOf(
      StartError,
    )
    expect(await failed(exec(['true'], { on: through, container: 'no-such' }).run())).toBeInstanceOf(StartError)
    expect(await failed(exec(['sleep', '700014'], { on: through, container: web, timeoutMs: 1_500 }).run())).toMatchObject({
      name: 'TimeoutError',
      left: undefined,
    })
    expect(processesIn(web, 'sleep 700014')).toEqual([])
  })
})

/** The drover command against a pretend Rancher with a real `sh` behind it: what it prints and with what it exits. */

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { until } from '../e2e/scenario.ts'
import { processEngine } from '../peers/engine-process.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

describe('drover', { timeout: 60_000 }, () => {
  let rancher: RancherPeer
  let folder: string
  let env: Record<string, string>

  beforeAll(async () => {
    rancher = await startRancherPeer({ engine: processEngine() })
    folder = mkdtempSync(join(tmpdir(), 'drover-cli-'))
    const { accessKey, secretKey } = rancher.environmentKey
    env = { CATTLE_URL: `${rancher.url}/v1`, CATTLE_ACCESS_KEY: accessKey, CATTLE_SECRET_KEY: secretKey }
  })
  afterEach(() => {
    rancher.generation = 'B'
  })
  afterAll(async () => {
    await rancher.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Without the environment of this process: only what is given. */
  async function drover(args: readonly string[], options: { env?: Record<string, string>; signalWhen?: () => boolean } = {}) {
    const child = spawn(process.execPath, [cli, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...(options.env ?? env) },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (data: Buffer) => {
      out += data.toString()
    })
    child.stderr.on('data', (data: Buffer) => {
      err += data.toString()
    })
    if (options.signalWhen) {
      await until(() => options.signalWhen?.() || undefined)
      child.kill('SIGINT')
    }
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    return { code, out, err }
  }

  for (const generation of ['A', 'B0', 'B'] as const) {
    it(`exec prints both streams by target and exits with the command's code (generation ${generation})`, async () => {
      rancher.generation = generation
      const { code, out, err } = await drover(['exec', 'name=shop-web-*', 'cmd=echo out; echo err >&2; exit 3'])
      expect(out).toContain('3 of 3: shop-web-1, shop-web-2, shop-web-3 · exit 3')
      expect(out).toContain('\nout\n')
      expect(err).toContain('err\n')
      expect(code).toBe(3)
    })
  }

  it('whoever reads no more has read enough: the run goes on to its end, and its code is the command’s', async () => {
    rancher.generation = 'A'
    const child = spawn(process.execPath, [cli, 'exec', 'name=shop-web-1', 'cmd=seq 1 200000; exit 3'], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let err = ''
    child.stderr.on('data', (data: Buffer) => {
      err += data.toString()
    })
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    expect([code, err.includes('EPIPE')]).toEqual([3, false])
  })

  it('flags do instead of the environment, and --json is one value', async () => {
    const { code, out } = await drover(
      [
        'exec',
        '--url',
        `${rancher.url}/v2-beta`,
        '--access-key',
        rancher.environmentKey.accessKey,
        '--secret-key',
        rancher.environmentKey.secretKey,
        '--json',
        'name=shop-web-1',
        '--',
        'echo',
        'a  b',
      ],
      { env: {} },
    )
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      argv: ['echo', 'a  b'],
      executions: [{ target: 'shop-web-1', ending: { status: 'exited', code: 0 }, said: 'exit 0', stdout: 'a  b\n' }],
    })
  })

  it("RGoN-Exec's flags are understood, and several of them narrow", async () => {
    expect((await drover(['exec', '-name=shop-web-1', '-cmd=echo test'])).out).toContain('1 of 1: shop-web-1 · exit 0\ntest\n')
    const none = await drover(['exec', '-name', 'shop-web-1', '-label', 'role=db', '-cmd', 'echo test'])
    expect(none.code).toBe(125)
    expect(none.err).toContain('No running container matches')
  })

  it('[gone-is-gone] S42 a command past its deadline exits 124 and leaves no process', async () => {
    const { code, out } = await drover(['exec', 'name=shop-web-1', 'timeout=1s', 'cmd=sleep 71'])
    expect(out).toContain('timed out, proved gone')
    expect(code).toBe(124)
    expect(running('sleep 71')).toBe(false)
  })

  it('[gone-is-gone] Ctrl-C cancels, and leaves no process', async () => {
    const { code, out } = await drover(['exec', 'name=shop-web-1', '--', 'sleep', '72'], {
      signalWhen: () => running('sleep 72'),
    })
    expect(out).toContain('cancelled, proved gone')
    expect(code).toBe(130)
    expect(running('sleep 72')).toBe(false)
  })

  it.each([
    ['a wrong key', { CATTLE_SECRET_KEY: 'wrong-secret-key' }, 125, /refuse|accept|key/i],
    ['a server that is not there', { CATTLE_URL: 'http://127.0.0.1:9' }, 125, /127\.0\.0\.1/],
    ['no server at all', { CATTLE_URL: '' }, 2, /--url/],
  ])('%s is said in words', async (_, change, code, message) => {
    const answer = await drover(['exec', 'name=shop-web-1', '--', 'true'], { env: { ...env, ...change } })
    expect(answer.code).toBe(code)
    expect(answer.err).toMatch(message)
    expect(answer.err).not.toContain(rancher.environmentKey.secretKey)
  })

  it('a usage error exits 2 and shows the right form', async () => {
    const { code, err } = await drover(['exec', 'label=web', 'uptime'])
    expect(code).toBe(2)
    expect(err).toContain('label=web cmd="uptime"')
  })

  it('[no-empty-selector] S44 an unset shell variable in a selector runs nowhere', async () => {
    const starts = rancher.seen.starts.length
    expect((await drover(['exec', 'label=', 'cmd=uptime'])).code).toBe(2)
    expect((await drover(['exec', 'name=*', 'cmd=uptime'])).code).toBe(2)
    expect(rancher.seen.starts.length).toBe(starts)
  })

  it('[no-secret-shown] S46 nothing of the environment of drover reaches the command', async () => {
    const { out } = await drover(['exec', 'name=shop-web-1', '--', 'env'], { env: { ...env, CANARY: 'canary-value' } })
    expect(out).toContain('PATH=')
    expect(out).not.toContain('canary')
    expect(out).not.toContain('CATTLE')
  })

  it('check says that Rancher answers and what the key may do', async () => {
    const { code, out } = await drover(['check'])
    expect(out).toMatch(/ok .*v1\.6/)
    expect(code).toBe(0)
    const wrong = await drover(['check'], { env: { ...env, CATTLE_SECRET_KEY: 'wrong-secret-key' } })
    expect(wrong.out).toMatch(/FAIL/)
    expect(wrong.code).toBe(1)
  })

  it('check does not send who asks it to itself; exec does', async () => {
    const gone = { ...env, CATTLE_URL: 'http://127.0.0.1:1' }
    const asked = await drover(['check'], { env: gone })
    expect(asked.code).toBe(1)
    expect(asked.out).toContain('Check the address and the network between drover and the server.\n')
    expect(asked.out).not.toContain('drover check')
    expect((await drover(['exec', 'name=a', 'cmd=b'], { env: gone })).err).toContain('`drover check` tells more.')
  })

  it('why tells the rule and the targets, and runs nothing', async () => {
    const starts = rancher.seen.starts.length
    const { code, out } = await drover(['why', 'service=web', 'stack=shop', '--', 'uptime'])
    expect(out).toMatch(/would run on 3.*\nRule: own-keys/)
    expect(code).toBe(0)
    expect(rancher.seen.starts.length).toBe(starts)
  })

  it('targets shows what a selector means, and runs nothing', async () => {
    const starts = rancher.seen.starts.length
    const { out } = await drover(['targets', 'stack=shop', 'service=web'])
    expect(out.trim().split('\n')).toHaveLength(3)
    expect(rancher.seen.starts.length).toBe(starts)
  })

  it('targets on a terminal has headings, and its total tells what no rule opens; piped it has neither', async () => {
    const file = join(folder, 'some.yaml')
    const play = `{ kind: rancher1, url: '${rancher.url}', accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } }`
    writeFileSync(
      file,
      `ledger: { path: ${folder}/some.db }
backends: { play: ${play} }
rules: [{ id: me, effect: allow, who: { cli: true }, targets: { name: [shop-web-1] }, commands: [uptime] }]
`,
    )
    const piped = await drover(['targets', '--config', file, 'stack=shop', 'service=web'])
    expect(piped.out).toMatch(/^shop-web-1\tplay\/\S+\tshop\tweb\t.*\n$/)
    expect(piped.err).toContain('2 more match, and no rule lets you run anything there')
    const typed = [process.execPath, cli, 'targets', '--config', file, 'stack=shop', 'service=web'].join(' ')
    const child = spawn('script', ['-qec', typed, '/dev/null'], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, TERM: 'dumb', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let stdout = ''
    for await (const text of child.stdout.setEncoding('utf8')) stdout += text
    expect(stdout).toMatch(/^NAME +ID +STACK +SERVICE/m)
    expect(stdout).toContain('3 targets found; you may run commands in 1 of them.')
  })

  it('S39 runs and verify read the ledger that exec wrote, and verify finds a change in it', async () => {
    const file = join(folder, 'drover.yaml')
    writeFileSync(
      file,
      `ledger: { path: ${folder}/drover.db }
backends: { play: { kind: rancher1, url: '${rancher.url}', accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } } }
rules: [{ id: me, effect: allow, who: { cli: true }, commands: ['echo ...'] }]
mask: [{ env: MASKED }]
`,
    )
    const withMask = { env: { ...env, MASKED: 'correct-horse-battery' } }
    const ran = await drover(
      ['exec', '--config', file, 'name=shop-web-1', '--', 'echo', 'kept', 'correct-horse-battery'],
      withMask,
    )
    expect(ran.out).toContain('kept [masked')
    const denied = await drover(['exec', '--config', file, 'name=shop-web-1', '--', 'id'], withMask)
    expect(denied.code).toBe(125)
    expect(denied.err).toContain('No rule allows')
    const listed = await drover(['runs', '--config', file], withMask)
    expect(listed.out).toMatch(/1 of 1 ok .*echo kept/)
    expect(listed.out).toMatch(/refused .*\bid\b/)
    expect(listed.out).not.toContain('correct-horse')
    expect((await drover(['verify', '--config', file], withMask)).out).toMatch(/^ok: \S+: \d+ events of 2 runs/)
    const ledger = join(folder, readdirSync(folder).find((entry) => /^cli-.*\.db$/.test(entry))!)
    // An auditor needs the file and nothing else.
    expect((await drover(['verify', '--ledger', ledger], { env: {} })).out).toMatch(/^ok: \S+: \d+ events of 2 runs/)
    const { DatabaseSync } = await import('node:sqlite')
    const database = new DatabaseSync(ledger)
    database.exec(`update event set body = replace(body, 'kept', 'lost')`)
    database.close()
    const broken = await drover(['verify', '--ledger', ledger], { env: {} })
    expect(broken.code).toBe(1)
    expect(broken.out).toMatch(/^BROKEN/)
  })

  it('[true-ending] S41 runs says of each how it ended, and done of none', async () => {
    const file = join(folder, 'endings.yaml')
    writeFileSync(
      file,
      `ledger: { path: ${folder}/endings/drover.db }
backends: { play: { kind: rancher1, url: '${rancher.url}', accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } } }
rules: [{ id: me, effect: allow, who: { cli: true }, commands: ['...'], rights: [shell] }]
`,
    )
    await drover(['exec', '--config', file, 'name=shop-web-1', 'timeout=1s', 'cmd=sleep 73'])
    await drover(['exec', '--config', file, 'name=shop-web-*', 'cmd=exit 3'])
    const { out } = await drover(['--config', file, 'runs'])
    expect(out).toMatch(/ {2}0 of 3 ok · 3 exited 3 {2}.*exit 3/)
    expect(out).toMatch(/ {2}0 of 1 ok · 1 timed out, proved gone {2}.*sleep 73/)
    expect(out).not.toContain('done')
  })

  it('S39 verify believes no file that is not a ledger, and names it as it was named', async () => {
    const { DatabaseSync } = await import('node:sqlite')
    const strangers = { text: 'no-ledger.txt', empty: 'empty.db', other: 'other.db', folder: '.' }
    writeFileSync(join(folder, strangers.text), 'hello, this is no database at all')
    writeFileSync(join(folder, strangers.empty), '')
    const database = new DatabaseSync(join(folder, strangers.other))
    database.exec('create table x(y)')
    database.close()
    for (const path of Object.values(strangers)) {
      const { code, out, err } = await drover(['verify', '--ledger', path], { env: { TMPDIR: folder } })
      expect([path, code, out]).toEqual([path, 1, ''])
      expect(err).toContain(path)
      expect(err).not.toContain('snapshot')
      expect(err).toContain('Name the file that drover writes')
    }
    expect(readdirSync(folder).filter((entry) => entry.startsWith('drover-snapshot-'))).toEqual([])
  })

  it('a terminal that no rule names is told which rule would', async () => {
    const file = join(folder, 'nobody.yaml')
    writeFileSync(
      file,
      `ledger: { path: ${folder}/nobody/drover.db }
backends: { play: { kind: rancher1, url: '${rancher.url}', accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } } }
rules: [{ id: oncall, effect: allow, who: { users: [T0/U0] }, commands: ['...'] }]
`,
    )
    const { err } = await drover(['exec', '--config', file, 'name=shop-web-1', '--', 'uptime'])
    expect(err).toContain('It takes a rule with who: { cli: true }, in drover.yaml.')
  })

  it('a forgotten quote is an error, not a question for help', async () => {
    const { code, err } = await drover(['exec', 'label=web', 'cmd=df', '-h'])
    expect(code).toBe(2)
    expect(err).toContain('-h')
  })

  it('a ledger that cannot be found through a drover.yaml can be named alone', async () => {
    const { code, err } = await drover(['runs'])
    expect(code).toBe(2)
    expect(err).toMatch(/^drover\.yaml (cannot be read|has a mistake)/)
    expect(err).toContain('--ledger drover.db')
  })

  it('[once] what an earlier, killed exec left behind does not answer for the next one', async () => {
    const file = join(folder, 'second.yaml')
    writeFileSync(
      file,
      `ledger: { path: ${folder}/second/drover.db }
backends: { play: { kind: rancher1, url: '${rancher.url}', accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } } }
rules: [{ id: me, effect: allow, who: { cli: true }, commands: ['...'] }]
`,
    )
    const first = spawn(process.execPath, [cli, 'exec', '--config', file, 'name=shop-web-1', '--', 'sleep', '73'], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...env },
      stdio: 'ignore',
    })
    await until(() => (running('sleep 73') ? true : undefined))
    first.kill('SIGKILL')
    const second = await drover(['exec', '--config', file, 'name=shop-web-2', '--', 'echo', 'second'])
    // Where scripts read stands what was asked for; of the other a person is told.
    expect(second.out).toBe('── 1 of 1: shop-web-2 · exit 0\nsecond\n')
    expect(second.err).toContain('interrupted: drover stopped while this run was going on.')
    expect(second.err).toContain('1 of 1: shop-web-1 · outcome unknown')
    expect(second.code).toBe(0)
  })
})

function running(line: string): boolean {
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1).join(' ') === line
    } catch {
      return false
    }
  })
}

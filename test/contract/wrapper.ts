/** The claims about drover's wrapper on Rancher 1.x, held in real shells: one suite for each of them. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import { type FrameEvent, frameParser } from '../../src/backends/rancher1/frames.ts'
import { wrapped } from '../../src/backends/rancher1/wrapper.ts'
import { killCommand } from '../../src/backends/wire/kill.ts'
import type { Argv, Command } from '../../src/core/model.ts'

type Ran = { out: Buffer; err: Buffer; code: number | undefined; pid: number; events: FrameEvent[]; raw: Buffer }

const started: ChildProcess[] = []
afterEach(() => {
  for (const child of started.splice(0)) {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
})

function start(shell: Argv, command: Command, exec: string, nonce: string, env: Record<string, string> = {}) {
  const [, ...rest] = wrapped(command, exec)
  const [program, ...before] = shell
  const child = spawn(program, [...before, ...rest], {
    env: { PATH: process.env.PATH!, ...env },
    detached: true,
    argv0: program === '/bin/bash' ? 'sh' : program,
  })
  started.push(child)
  child.stdin.write(`${nonce}\n`)
  const parser = frameParser(nonce)
  const events: FrameEvent[] = []
  const pieces: Buffer[] = []
  const ended = new Promise<Ran>((resolve) => {
    const finish = () => {
      const of = (type: string) => Buffer.concat(events.flatMap((e) => (e.type === type && 'data' in e ? [e.data] : [])))
      const exit = events.find((e) => e.type === 'exited')
      const began = events.find((e) => e.type === 'began')
      resolve({
        out: of('stdout'),
        err: of('stderr'),
        code: exit?.type === 'exited' ? exit.code : undefined,
        pid: began?.type === 'began' ? began.pid : Number.NaN,
        events,
        raw: Buffer.concat(pieces),
      })
    }
    child.stdout.on('data', (data: Buffer) => {
      pieces.push(data)
      events.push(...parser.write(data))
      if (events.some((e) => e.type === 'exited') && events.some((e) => e.type === 'stderr-ended')) finish()
    })
    child.stdout.on('close', () => {
      events.push(...parser.end())
      finish()
    })
  })
  return { child, ended, events }
}

let count = 0
const newExec = () => createHash('sha256').update(`${process.pid} ${Date.now()} ${count++}`).digest('hex').slice(0, 32)
const NONCE = 'Zm9yYmlkZGVuLW5vbmNlMQ'
const run = (shell: Argv, command: Command, env?: Record<string, string>) => start(shell, command, newExec(), NONCE, env).ended

export function wrapperContract(name: string, shell: Argv): void {
  describe(`the wrapper in ${name}`, () => suite(shell))
}

function suite(shell: Argv): void {
  const sh = (text: string, options: Omit<Command, 'argv'> = {}, env?: Record<string, string>) =>
    run(shell, { argv: ['/bin/sh', '-c', text], ...options }, env)

  test('keeps stdout and stderr apart and tells the exit code', async () => {
    const ran = await sh('echo out; echo err >&2; exit 3')
    expect([`${ran.out}`, `${ran.err}`, ran.code]).toEqual(['out\n', 'err\n', 3])
  })

  test('keeps a last line without newline as it is, on both streams', async () => {
    const ran = await sh('printf "a\\nb"; printf "c\\n\\nd" >&2')
    expect([`${ran.out}`, `${ran.err}`, ran.code]).toEqual(['a\nb', 'c\n\nd', 0])
  })

  test('tells a command killed by a signal as 128 and the signal', async () => {
    expect((await sh('kill -KILL $$')).code).toBe(137)
    expect((await sh('kill -TERM $$')).code).toBe(143)
  })

  test('tells a missing command as the shell’s 127, with its words on stderr', async () => {
    const ran = await run(shell, { argv: ['no-such-command-here', 'x'] })
    expect(ran.code).toBe(127)
    expect(`${ran.err}`).toContain('no-such-command-here')
    expect(`${ran.out}`).toBe('')
  })

  test.each([['eval', 'echo HACKED'], ['alias', 'a'], ['set'], ['f', 'x0'], ['r'], ['exit', '0'], ['A=1']] as Argv[])(
    '[exact-argv] starts programs only, never the shell’s own words: %s',
    async (...argv) => {
      const ran = await run(shell, { argv: argv as unknown as Argv })
      expect(ran.code).toBe(127)
      expect(`${ran.out}`).toBe('')
    },
  )

  test('[exact-argv] S08 quotes, substitutions, newlines, dashes and empty strings arrive byte by byte', async () => {
    const args = [
      '',
      ' ',
      '-n',
      '--',
      '-c',
      '$(id)',
      '`id`',
      '"',
      "'",
      '\\',
      '\\n',
      'a\nb',
      'é ü 🚀',
      '*',
      '~',
      '\x1e\x1f',
      '$@',
      ';',
      '%s',
      '--help',
      'X=1',
      '\t',
      '\x01\x7f',
    ]
    const ran = await run(shell, {
      argv: [process.execPath, '-e', 'console.log(JSON.stringify(process.argv.slice(1)))', '--', ...args],
    })
    expect(JSON.parse(`${ran.out}`)).toEqual(args)
  })

  test('S46 the nonce is in no environment, no command line and no open file of the command', async () => {
    const ran = await sh(
      'tr "\\0" "\\n" </proc/self/environ; for p in $$ $PPID; do tr "\\0" " " </proc/$p/cmdline; tr "\\0" " " </proc/$p/environ; done; ls /proc/self/fd; cat',
      {},
      { _n: 'exported-by-the-image', _l: 'x', SHELLOPTS: 'allexport' },
    )
    expect(`${ran.out}`).not.toContain(NONCE)
    const openHere = execFileSync('/bin/sh', ['-c', 'ls /proc/self/fd'], { encoding: 'utf8' })
    expect(`${ran.out}`.endsWith(` ${openHere}`)).toBe(true)
    expect(ran.raw.toString('latin1').match(new RegExp(`\\x1e${NONCE} p\\d+\\x1f${NONCE}`))).not.toBeNull()
  })

  test('the command’s stdin is empty, so that a reader ends', async () => {
    const ran = await run(shell, { argv: ['cat'] })
    expect([`${ran.out}`, ran.code]).toEqual(['', 0])
  })

  test('sets environment and directory', async () => {
    const ran = await sh('echo "$A|$B_2|$PWD"; pwd', { env: { A: "x 'y'\nz", B_2: '$(id)' }, dir: '/usr/share' })
    expect(`${ran.out}`).toBe("x 'y'\nz|$(id)|/usr/share\n/usr/share\n")
  })

  test('a missing directory is told apart from anything a command can do, and nothing runs', async () => {
    const ran = await sh('echo ran', { dir: '/no/such dir' })
    expect(ran.events.some((e) => e.type === 'no-directory')).toBe(true)
    expect([`${ran.out}`, ran.code]).toEqual(['', undefined])
  })

  test('bytes 1 to 255 pass both streams unchanged; NUL passes stdout', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const ran = await run(shell, {
      argv: [
        process.execPath,
        '-e',
        'const b=Buffer.from(Array.from({length:256},(_,i)=>i));process.stdout.write(b);process.stderr.write(b)',
      ],
    })
    expect(ran.out.toString('hex')).toBe(bytes.toString('hex'))
    expect(ran.err.toString('hex')).toBe(bytes.subarray(1).toString('hex'))
  })

  test('a NUL-only piece of stderr does not end the reading of it', async () => {
    const ran = await run(shell, {
      argv: [
        process.execPath,
        '-e',
        'process.stderr.write(Buffer.alloc(2000));setTimeout(()=>process.stderr.write("after"),200)',
      ],
    })
    expect([`${ran.err}`, ran.code]).toEqual(['after', 0])
  })

  test('S38 one line of 1 MB on stderr arrives whole', async () => {
    const ran = await run(shell, {
      argv: [process.execPath, '-e', 'process.stderr.write("é".repeat(500000)+"\\nend\\n")'],
    })
    expect(ran.err.equals(Buffer.from(`${'é'.repeat(500_000)}\nend\n`))).toBe(true)
  })

  test('lines around the size of a piece keep their newlines', async () => {
    const lines = [898, 899, 900, 901, 1799, 1800, 1801].map((n) => 'x'.repeat(n)).join('\n')
    const ran = await run(shell, { argv: [process.execPath, '-e', `process.stderr.write(${JSON.stringify(`${lines}\n`)})`] })
    expect(`${ran.err}`).toBe(`${lines}\n`)
  })

  test('frames stay whole while both streams write as fast as they can', async () => {
    const ran = await sh(
      '{ i=0; while [ $i -lt 1500 ]; do echo "err $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" >&2; i=$((i+1)); done; } & j=0; while [ $j -lt 1500 ]; do echo "out $j yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"; j=$((j+1)); done; wait',
    )
    expect(`${ran.out}`.split('\n').filter((l) => !/^out \d+ y+$/.test(l))).toEqual([''])
    expect(`${ran.err}`.split('\n').filter((l) => !/^err \d+ x+$/.test(l))).toEqual([''])
    expect(`${ran.err}`.split('\n')).toHaveLength(1501)
  })

  test('a piece of stderr without newline is told while the command still runs', async () => {
    const { events, child } = start(shell, { argv: ['/bin/sh', '-c', `printf '%0900d' 7 >&2; sleep 30`] }, newExec(), NONCE)
    while (!events.some((e) => e.type === 'stderr')) await new Promise((r) => child.stdout!.once('data', r))
    expect(events.some((e) => e.type === 'exited')).toBe(false)
  })

  test('output that looks like a frame, or ends like one, is output', async () => {
    const ran = await sh(`printf '\\036wrong x0\\037wrong\\036'; printf '\\037\\036 x0\\037' >&2; exit 5`)
    expect([ran.out.toString('latin1'), ran.err.toString('latin1'), ran.code]).toEqual([
      '\x1ewrong x0\x1fwrong\x1e',
      '\x1f\x1e x0\x1f',
      5,
    ])
  })

  test('a background child that holds stderr open delays the end of stderr, never the exit code', async () => {
    const { events, child } = start(shell, { argv: ['/bin/sh', '-c', 'sleep 30 & exit 4'] }, newExec(), NONCE)
    while (!events.some((e) => e.type === 'exited')) await new Promise((r) => child.stdout!.once('data', r))
    expect(events.some((e) => e.type === 'stderr-ended')).toBe(false)
  })

  describe('the kill', () => {
    const kill = async (exec: string, pid: number | undefined) => {
      const ran = await start(shell, withShell(killCommand(exec, pid), shell), newExec(), NONCE).ended
      return `${ran.out}`.trim()
    }
    const begin = async (text: string) => {
      const exec = newExec()
      const one = start(shell, { argv: ['/bin/sh', '-c', text] }, exec, NONCE)
      while (!one.events.some((e) => e.type === 'stdout')) await new Promise((r) => one.child.stdout!.once('data', r))
      const began = one.events.find((e) => e.type === 'began')
      return { exec, pid: began?.type === 'began' ? began.pid : 0 }
    }

    test('[gone-is-gone] S42 ends grandchildren, setsid children and what ignores TERM', async () => {
      const mark = `77${process.pid}${count}1`
      const { exec, pid } = await begin(
        `trap '' TERM; (sleep ${mark} &) ; setsid sleep ${mark} & env -i setsid sleep ${mark} & env -i sleep ${mark} & echo go; while :; do sleep ${mark}; done`,
      )
      expect(await kill(exec, pid)).toBe('gone')
      expect(processesWith(mark)).toEqual([])
    }, 20_000)

    test('[gone-is-gone] finds the processes without a pid, by the id alone', async () => {
      const mark = `78${process.pid}${count}2`
      const { exec } = await begin(`setsid sleep ${mark} & echo go; sleep ${mark}`)
      expect(await kill(exec, undefined)).toBe('gone')
      expect(processesWith(mark)).toEqual([])
    }, 20_000)

    const ending = (leader: string, isThere: string) => {
      const exec = newExec()
      const { argv } = withShell(killCommand(exec, undefined), shell)
      // The id stands in no command line. The numbers from 2 to 8 are used up, so that the first process of the execution is 9 and its child 10.
      const script = `x=$2$1; shift 2; for n in 2 3 4 5 6 7 8; do /bin/true; done
        DROVER_EXEC=$x ${leader} & echo $!
        until ${isThere}; do :; done 2>/dev/null
        "$@"; for d in /proc/[0-9]*; do tr '\\0' ' ' <$d/cmdline | grep '^sleep 600'; done; true`
      return inNewPids(script, [exec.slice(16), exec.slice(0, 16), ...argv])
    }

    test('[gone-is-gone] S42 a child that /proc lists before its parent is ended too: 10 comes before 9', () => {
      const said = ending(`/bin/sh -c 'env -i sleep 600; true'`, 'read -r c </proc/10/comm && [ $c = sleep ]')
      expect(said).toBe('9\ngone\n')
    }, 30_000)

    test('[gone-is-gone] S42 without a pid, what has lost its parent and its environment is found by its session', () => {
      const leader = `setsid /bin/sh -c '(env -i sleep 600 &); sleep 601'`
      const said = ending(leader, '[ "$(cat /proc/[0-9]*/comm | grep -c sleep)" = 2 ]')
      expect(said).toBe('9\ngone\n')
    }, 30_000)

    test('lets a command that handles TERM say its last words', async () => {
      const exec = newExec()
      const one = start(
        shell,
        { argv: ['/bin/sh', '-c', 'trap "echo bye; echo late >&2; exit 9" TERM; echo go; while :; do sleep 0.1; done'] },
        exec,
        NONCE,
      )
      while (!one.events.some((e) => e.type === 'stdout')) await new Promise((r) => one.child.stdout!.once('data', r))
      expect(await kill(exec, undefined)).toBe('gone')
      const ran = await one.ended
      expect([`${ran.out}`, `${ran.err}`]).toEqual(['go\nbye\n', expect.stringContaining('late\n')])
    }, 20_000)

    test('leaves other executions alone, also one whose pid was taken again', async () => {
      const mark = `79${process.pid}${count}3`
      const other = await begin(`echo go; sleep ${mark}`)
      expect(await kill(newExec(), other.pid)).toBe('gone')
      expect(processesWith(mark)).not.toEqual([])
    }, 20_000)
  })
}

/** The kill program itself is tried in the shell under test, too. */
function withShell(command: Command, shell: Argv): Command {
  const [, ...rest] = command.argv
  return { ...command, argv: [shell[0], ...shell.slice(1), ...rest] }
}

function processesWith(mark: string): string[] {
  return execFileSync('ps', ['-eo', 'pid,stat,args'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(`sleep ${mark}`) && !line.includes('sh -c') && !/^\s*\d+\s+Z/.test(line))
}

/** What a script says as the first process of a pid namespace, which ends with it. */
function inNewPids(script: string, args: readonly string[]): string {
  const own = ['--user', '--map-root-user', '--pid', '--fork', '--kill-child', '--mount-proc']
  return execFileSync('unshare', [...own, '/bin/sh', '-c', script, 'first', ...args], {
    encoding: 'utf8',
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
}

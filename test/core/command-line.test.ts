/** The line people type: its grammar, its errors, and that policy and backend get the very same array. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ParsedLine, parseArguments, parseCommandLine, pointAt } from '../../src/core/command-line.ts'
import { DroverError } from '../../src/core/errors.ts'

function refusal(text: string): { code: string; position: number | undefined; next: string | undefined; message: string } {
  try {
    parseCommandLine(text)
  } catch (error) {
    if (error instanceof DroverError) return error.toFailure() as ReturnType<typeof refusal>
    throw error
  }
  throw new Error(`${text} was taken`)
}

const exec = (text: string): Extract<ParsedLine, { verb: 'exec' | 'why' }> => {
  const parsed = parseCommandLine(text)
  if (parsed.verb !== 'exec' && parsed.verb !== 'why') throw new Error(parsed.verb)
  return parsed
}

describe('the grammar', () => {
  it.each<[string, unknown]>([
    ['', { verb: 'help' }],
    ['help', { verb: 'help' }],
    ['help label=web', { verb: 'help' }],
    ['runs', { verb: 'runs' }],
    ['targets label=web', { verb: 'targets', selector: { labels: [{ op: 'word', word: 'web' }] } }],
    [
      'label=web cmd="uptime"',
      { verb: 'exec', selector: { labels: [{ op: 'word', word: 'web' }] }, command: { argv: ['uptime'] } },
    ],
    ['exec name=shop-* cmd=id', { verb: 'exec', selector: { name: 'shop-*' }, command: { argv: ['id'] } }],
    ['why id=1i160 cmd=id', { verb: 'why', selector: { id: '1i160' }, command: { argv: ['id'] } }],
    [
      'on=prod label=app=web,tier!=canary cmd="df -h /" timeout=20s',
      {
        verb: 'exec',
        selector: {
          on: 'prod',
          labels: [
            { op: 'eq', key: 'app', value: 'web' },
            { op: 'ne', key: 'tier', value: 'canary' },
          ],
        },
        command: { argv: ['df', '-h', '/'] },
        timeoutMs: 20_000,
      },
    ],
    [
      'name=shop-web-* any=1 -- ls -la "/srv/my dir"',
      { verb: 'exec', selector: { name: 'shop-web-*', any: 1 }, command: { argv: ['ls', '-la', '/srv/my dir'] } },
    ],
    [
      `id=1i160 user=postgres cmd="psql -c 'select 1'"`,
      { verb: 'exec', selector: { id: '1i160' }, command: { argv: ['psql', '-c', 'select 1'], user: 'postgres' } },
    ],
    [
      'stack=shop service=web host=h1 all=3 system=1 tty=1 dir=/srv stdin=yes env=A=1 env=B="x y" -- cat',
      {
        verb: 'exec',
        selector: { facets: { stack: 'shop', service: 'web', host: 'h1' }, all: 3, system: true },
        command: { argv: ['cat'], env: { A: '1', B: 'x y' }, dir: '/srv', stdin: 'yes', tty: true },
      },
    ],
    ['task=x7k2 -- id', { verb: 'exec', selector: { id: 'x7k2', facets: { task: 'x7k2*' } }, command: { argv: ['id'] } }],
    [
      'label=a label=b -- id',
      {
        verb: 'exec',
        selector: {
          labels: [
            { op: 'word', word: 'a' },
            { op: 'word', word: 'b' },
          ],
        },
        command: { argv: ['id'] },
      },
    ],
    ['name=a -- "--" -- x=1', { verb: 'exec', selector: { name: 'a' }, command: { argv: ['--', '--', 'x=1'] } }],
    ['name=a cmd="ls | wc -l"', { verb: 'exec', selector: { name: 'a' }, command: { argv: ['/bin/sh', '-c', 'ls | wc -l'] } }],
  ])('%s', (text, parsed) => expect(parseCommandLine(text)).toEqual(parsed))

  it.each([
    ['500ms', 500],
    ['20', 20_000],
    ['20s', 20_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
  ])('timeout=%s is %d ms', (typed, ms) => expect(exec(`name=a timeout=${typed} -- id`).timeoutMs).toBe(ms))

  it('takes a terminal’s words as they are: what follows -- is the argv, quotes and all', () => {
    expect(parseArguments(['exec', 'name=a', '--', 'echo', '"$HOME"', 'a b', ''])).toMatchObject({
      command: { argv: ['echo', '"$HOME"', 'a b', ''] },
    })
    expect(parseArguments(['name=a', `cmd=psql -c 'select 1'`])).toMatchObject({ command: { argv: ['psql', '-c', 'select 1'] } })
  })

  it('keeps an environment variable whatever its name', () => {
    expect(Object.entries(exec('name=a env=__proto__=x env=constructor=y -- id').command.env ?? {})).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })
})

describe('errors', () => {
  it.each<[string, string, number, string]>([
    ['uptime', 'usage', 0, 'key=value'],
    ['label=web uptime', 'usage', 10, 'key=value'],
    ['label=web lable=x -- id', 'usage', 10, 'label='],
    ['label=web CMD=x', 'usage', 10, 'cmd='],
    ['label=web zzz=1 -- id', 'usage', 10, 'Keys:'],
    ['name=a name=b -- id', 'usage', 7, 'once'],
    ['name=a cmd=x -- id', 'usage', 7, 'For example'],
    ['name=a', 'usage', 6, 'For example'],
    ['name=a --', 'usage', 9, 'For example'],
    ['name=a cmd=""', 'usage', 11, 'For example'],
    ['name=a cmd="  "', 'usage', 12, 'For example'],
    ['name=a cmd="" ', 'usage', 11, 'For example'],
    [`name=a cmd="'' x"`, 'usage', 12, 'For example'],
    ['name=a cmd="ls \'x"', 'usage', 15, 'Close it'],
    ['name=a any=0 -- id', 'usage', 11, 'any=3'],
    ['task=x id=y -- id', 'usage', 0, 'one of them'],
    ['task=x* -- id', 'usage', 5, 'task='],
    ['task=* -- id', 'empty_selector', 5, 'task='],
    ['name=a any=1e3 -- id', 'usage', 11, 'any=3'],
    ['name=a all=-1 -- id', 'usage', 11, 'all=3'],
    ['name=a system=yes -- id', 'usage', 14, 'system=1'],
    ['name=a tty=yes -- id', 'usage', 11, 'tty=1'],
    ['name=a timeout=soon -- id', 'usage', 15, 'timeout=20s'],
    ['name=a timeout=99ms -- id', 'usage', 15, 'timeout=20s'],
    ['name=a timeout=25h -- id', 'usage', 15, 'timeout=20s'],
    ['name=a env=1A=x -- id', 'usage', 11, 'env=LANG=C'],
    ['name=a user= -- id', 'usage', 12, 'Give user='],
    ['name=a dir=" " -- id', 'usage', 12, 'Give dir='],
    ['name=a cmd="x\0y"', 'usage', 12, 'Take it out'],
    ['targets name=a cmd=id', 'usage', 15, 'Leave it out'],
    ['targets name=a -- id', 'usage', 15, 'Leave it out'],
    ['runs label=web', 'usage', 5, 'Leave it out'],
    ['name=a help', 'usage', 7, 'comes first'],
    ['label=a=b=c,,d -- id', 'empty_selector', 6, 'all=N'],
    ['label="a b" -- id', 'usage', 7, 'key=value'],
    ['name= -- id', 'empty_selector', 5, 'leave it out'],
    ['"name" -- id', 'usage', 0, 'key=value'],
  ])('%j is refused as %s at %d', (text, code, position, next) => {
    const failure = refusal(text)
    expect({ code: failure.code, position: failure.position }).toEqual({ code, position })
    expect(failure.next).toContain(next)
  })

  it('[no-secret-shown] S35 a word in the wrong place is pointed at, and not quoted unless it is a plain word', () => {
    expect(refusal('uptime').message).toBe('"uptime" has no key.')
    expect(refusal(`name=a ghp_${'a1B2'.repeat(9)}`)).toMatchObject({ message: 'This word has no key.', position: 7 })
    expect(refusal(`name=a ${'secretkey'.repeat(5)}=x`)).toMatchObject({ message: 'There is no such key.', position: 7 })
  })

  it('[bounded] refuses a text longer than any person types before it looks at it', () => {
    expect(refusal(`name=a -- ${'x'.repeat(20_000)}`)).toMatchObject({ code: 'usage', position: 16_384 })
  })

  it('points with a caret at the character, within one window, whatever stands around it', () => {
    const text = `${'x'.repeat(200)} bad\nword ${'y'.repeat(200)}`
    const [line, caret] = pointAt(text, 201).split('\n')
    expect(line?.[(caret ?? '').indexOf('^')]).toBe('b')
    expect(line?.length).toBeLessThanOrEqual(80)
  })

  it('10 000 hostile lines either parse or are refused with a code, a place in the text and a next step', () => {
    const word = fc.constantFrom(
      'label=',
      'name=',
      'cmd=',
      'any=',
      'all=',
      'on=',
      'env=',
      'a',
      '"',
      "'",
      '\\',
      ' ',
      '--',
      '=',
      ',',
      '!',
      '(',
      ')',
      'in',
      '*',
      '$x',
      '\n',
      '😀',
      'targets ',
      'x=y',
      '|',
    )
    const line = fc.array(word, { maxLength: 12 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(line, (text) => {
        try {
          parseCommandLine(text)
        } catch (error) {
          if (!(error instanceof DroverError)) throw error
          expect(['usage', 'empty_selector']).toContain(error.code)
          expect(error.next).toBeTruthy()
          if (error.position !== undefined) expect(error.position).toBeLessThanOrEqual(text.length)
        }
      }),
      { numRuns: 10_000 },
    )
  })
})

describe('S08 shell text', () => {
  it.each([';', '$(id)', '`id`', '| sh', '&& rm -rf /'])('after -- %j stays one argument of its own', (text) => {
    expect(parseArguments(['name=a', '--', 'echo', text])).toMatchObject({ command: { argv: ['echo', text] } })
    expect(exec(`name=a -- echo '${text}'`).command.argv).toEqual(['echo', text])
  })

  it('S07 cmd= with any of it becomes a shell by name, which needs a right of its own', () => {
    expect(exec('name=a cmd="echo $(id)"').command.argv).toEqual(['/bin/sh', '-c', 'echo $(id)'])
  })
})

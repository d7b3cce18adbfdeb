/** POSIX quoting against two oracles: the shlex package and a real /bin/sh. */

import { spawnSync } from 'node:child_process'
import * as fc from 'fast-check'
import { split as shlexSplit } from 'shlex'
import { describe, expect, it } from 'vitest'
import { formatArgv, givenWord, needsShell, quoteWord, splitWords } from '../../src/core/words.ts'

const texts = (source: string): string[] => splitWords(source).map((word) => word.text)

function thrown(work: () => unknown): Record<string, unknown> {
  try {
    work()
  } catch (error) {
    return { ...(error as object) }
  }
  throw new Error('nothing was thrown')
}

/** What /bin/sh makes of each text as arguments; undefined where it refuses the text. Many texts, one process each batch. */
function shellSplits(sources: readonly string[]): (string[] | undefined)[] {
  const script = sources
    .map((source, i) => `(printf '%s\\0' ${source}\n) 2>/dev/null || printf 'ERR'; printf '\\0END${i}\\0'`)
    .join('\n')
  const env = { PATH: process.env.PATH ?? '', HOME: '/home/nobody', IFS: ' \t\n' }
  const run = spawnSync('/bin/sh', ['-s'], { input: script, env, maxBuffer: 64 * 1024 * 1024 })
  if (run.status !== 0) {
    const half = Math.ceil(sources.length / 2)
    return sources.length === 1 ? [undefined] : [...shellSplits(sources.slice(0, half)), ...shellSplits(sources.slice(half))]
  }
  const rest = run.stdout.toString('utf8')
  let from = 0
  return sources.map((_, i) => {
    const mark = `\0END${i}\0`
    const end = rest.indexOf(mark, from)
    const part = rest.slice(from, end)
    from = end + mark.length
    return part === 'ERR' ? undefined : part.split('\0').slice(0, -1)
  })
}

const alphabet = `abfix01 ''""\\\\\t\n$\`~#={}[],.!*?;&|<>()-/é☃😀\r\v\u00a0`
const hostile = fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 14 })
const pieces = [
  'ls',
  'a b',
  ' ',
  "'",
  '"',
  '\\',
  '\\\n',
  '\\"',
  "\\'",
  '\\$',
  '\\\\',
  '~',
  '#',
  'X=1',
  'X+=1',
  '{a,b}',
  '{1..3}',
  '{',
  ',',
  '..',
  '}',
  '[',
  ']',
  '!',
  '-n',
  '--',
  '%s',
  'exec',
  'if',
  '=~',
  ':~',
  '"$x"',
  "'$x'",
  '\t',
  'é',
  '😀',
  '^',
  '@',
  '+',
  '1',
  '>',
  '2>',
  '\u0081',
  '\u0088',
]
const pasted = fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => parts.join(''))

describe('splitting', () => {
  it.each<[string, string[]]>([
    ['', []],
    ['  \t\n ', []],
    ['ls -la', ['ls', '-la']],
    [`ls "/srv/my dir"`, ['ls', '/srv/my dir']],
    [`a'b'"c"d`, ['abcd']],
    [`'' ""`, ['', '']],
    [`"a\\nb\\$c\\"d\\\\e"`, ['a\\nb$c"d\\e']],
    [`'a\\'`, ['a\\']],
    [`a\\ b`, ['a b']],
    ['a\\\nb', ['ab']],
    ['"a\\\nb"', ['ab']],
    ['a\rb', ['a\rb']],
    ['a\u00a0b', ['a\u00a0b']],
    ['; $(id) `id`', [';', '$(id)', '`id`']],
  ])('splits %j into %j', (source, words) => expect(texts(source)).toEqual(words))

  it.each<[string, number]>([
    [`ls 'abc`, 3],
    [`ls "abc`, 3],
    [`ls "abc\\"`, 3],
    ['ls \\', 3],
  ])('points at the quote that %j leaves open, and says what to do', (source, position) => {
    expect(thrown(() => splitWords(source))).toMatchObject({
      code: 'usage',
      position,
      next: expect.stringContaining('backslash'),
    })
  })

  it('knows where each character came from, also inside text that was itself a quoted word', () => {
    const [outer] = splitWords(`  "a\\"b"c`)
    expect([outer?.start, outer?.at]).toEqual([2, [3, 5, 6, 8]])
    const [, inner] = splitWords('x yz', [10, 11, 12, 15])
    expect([inner?.start, inner?.at]).toEqual([12, [12, 15]])
  })

  it('gives a word from a terminal one offset for each UTF-16 unit', () => {
    expect(givenWord('😀=')).toMatchObject({ at: [0, 1, 2], quoted: [true, true, true] })
  })

  it('S06 agrees with shlex on 10 000 texts, wherever shlex is POSIX', () => {
    const compare = (source: string) => {
      // shlex knows $'…', splits at \r, keeps \$ and \` in double quotes, and loses a backslash of \\\\"": not POSIX (dash agrees with us).
      fc.pre(!/[$\r`]|\\\\["']/.test(source))
      let theirs: string[] | undefined
      try {
        theirs = shlexSplit(source)
      } catch {}
      let ours: string[] | undefined
      try {
        ours = texts(source)
      } catch {}
      expect(ours).toEqual(theirs)
    }
    fc.assert(fc.property(fc.oneof(hostile, pasted), compare), { numRuns: 10_000 })
  })
})

describe('formatting', () => {
  it('[exact-argv] S20 the line shown splits into the very array that runs, on 10 000 arrays', () => {
    const argv = fc.array(fc.oneof(hostile, fc.string({ unit: 'binary' }), pasted), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(argv, (args) => {
        expect(texts(formatArgv(args))).toEqual(args)
      }),
      { numRuns: 10_000 },
    )
  })

  it('[exact-argv] a real shell reads the line shown as the same arguments', () => {
    const argvs = fc.sample(fc.array(fc.oneof(hostile, pasted), { minLength: 1, maxLength: 5 }), { numRuns: 400, seed: 7 })
    expect(shellSplits(argvs.map(formatArgv))).toEqual(argvs)
  })

  it('quotes a first word that a shell would take for an assignment', () => {
    expect(formatArgv(['A=1', 'B=2'])).toBe(`'A=1' B=2`)
    expect(quoteWord('')).toBe(`''`)
    expect(quoteWord(`it's`)).toBe(`'it'\\''s'`)
  })
})

describe('text that needs a shell', () => {
  it.each([
    'a|b',
    'a;b',
    'a&',
    'a && b',
    'a>b',
    'a 2>&1',
    '<a',
    '(a)',
    'echo $HOME',
    'echo "$HOME"',
    'echo `id`',
    'echo "`id`"',
    'ls *',
    'ls ?',
    'ls [ab]',
    'ls ~',
    'ls ~root',
    'PATH=~ x',
    'a\nb',
    'ls # x',
    '# x',
    'X=1 ls',
    'X+=1 ls',
    'cd /',
    'exec ls',
    '. x',
    '! ls',
    'if a',
    '{ ls',
    'echo {a,b}',
    'echo {1..3}',
    'echo {a,"b c"}',
    'echo {a,{b,c}}',
    'ls \\\n~',
    '\\\n#x',
    'ex\\\nec ls',
    "'cd' /",
    '\\\nX=1 ls',
  ])('needs one: %j', (text) => expect(needsShell(text)).toBe(true))

  it.each([
    'uptime',
    'ls -la',
    `ls "/srv/my dir"`,
    `echo '$HOME'`,
    'echo \\$HOME',
    `echo '*'`,
    'echo "*?[;|&"',
    'a#b',
    'a~b',
    'test a=b',
    'find . -name x -exec ls {} +',
    'curl http://x/a',
    'echo {a}',
    'echo {a b,c}',
    `'X'=1 ls`,
    'a\\\nb',
    'psql -c "select 1"',
    'echo "a\\"b"',
    '',
  ])('needs none: %j', (text) => expect(needsShell(text)).toBe(false))

  it('[exact-argv] S08 what is sent without a shell is exactly what a real shell would have made of it', () => {
    const found: string[] = []
    for (let seed = 1; found.length < 2_500; seed++) {
      for (const source of fc.sample(fc.oneof(hostile, pasted), { numRuns: 4_000, seed })) {
        if (source.includes('\0') || needsShell(source)) continue
        try {
          if (splitWords(source).length > 0) found.push(source)
        } catch {}
      }
    }
    const theirs = shellSplits(found)
    expect(found.map((source, i) => [source, theirs[i]])).toEqual(found.map((source) => [source, texts(source)]))
  })
})

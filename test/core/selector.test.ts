/** Which containers are meant: globs, the label grammar, blank selectors, ids, any, all and the platform's own. */

import { describe, expect, it } from 'vitest'
import { DroverError } from '../../src/core/errors.ts'
import type { LabelTerm, Selector, Target, TargetId } from '../../src/core/model.ts'
import { facetNames, isBlank, matches, matchesGlob, parseLabels, refuseEmpty, select } from '../../src/core/selector.ts'

function target(native: string, more: Partial<Target> = {}): Target {
  const base = { backend: 'prod', kind: 'rancher1', native, name: `shop-${native}`, labels: {}, facets: {} } as const
  return { ...base, id: `prod/${native}` as TargetId, ...more }
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (error instanceof DroverError) return error.code
    throw error
  }
}

const selected = (selector: Selector, listed: readonly Target[]) => {
  const found = select(selector, listed)
  return found.ok ? found.targets.map((one) => one.native) : found.failure.code
}

describe('globs', () => {
  it.each<[string, string, boolean]>([
    ['web', 'web', true],
    ['web', 'web1', false],
    ['web*', 'web', true],
    ['*web', 'shop-web', true],
    ['a*b*c', 'axxbyyc', true],
    ['a*b*c', 'axxbyy', false],
    ['w?b', 'web', true],
    ['w?b', 'wb', false],
    ['*', '', true],
    ['?', '', false],
    ['**a', 'ba', true],
    ['.*', 'web', false],
    ['[a-z]', 'a', false],
    ['a+', 'aa', false],
    ['a*', 'a\nb', true],
    ['A', 'a', false],
    ['*ab', 'aab', true],
    ['*aab*', 'aaaab', true],
  ])('%s on %s: %s', (glob, text, expected) => expect(matchesGlob(glob, text)).toBe(expected))

  it('[bounded] hostile globs take at most glob × text steps', () => {
    // Characters are counted as they are read, so that nothing depends on the clock.
    let reads = 0
    const get = (of: object, key: string) => {
      if (key === 'length') return text.length
      reads++
      return Reflect.get(of, key)
    }
    const counted = (plain: string) => new Proxy(Object(plain), { get }) as string
    const text = 'a'.repeat(2_000)
    expect(matchesGlob('*a*a*a*a*a*a*a*a*b', counted(text))).toBe(false)
    expect(reads).toBeLessThan(18 * text.length * 3)
  })
})

describe('labels', () => {
  it.each<[string, readonly LabelTerm[]]>([
    ['web', [{ op: 'word', word: 'web' }]],
    ['k=v', [{ op: 'eq', key: 'k', value: 'v' }]],
    ['k==v', [{ op: 'eq', key: 'k', value: 'v' }]],
    ['k = v w', [{ op: 'eq', key: 'k', value: 'v w' }]],
    ['k=a=b', [{ op: 'eq', key: 'k', value: 'a=b' }]],
    ['k!=v', [{ op: 'ne', key: 'k', value: 'v' }]],
    ['!k', [{ op: 'absent', key: 'k' }]],
    ['k in (a, b)', [{ op: 'in', key: 'k', values: ['a', 'b'] }]],
    [
      'io.rancher.stack/x=y,web',
      [
        { op: 'eq', key: 'io.rancher.stack/x', value: 'y' },
        { op: 'word', word: 'web' },
      ],
    ],
    [
      'a in (x,y),!b,c!=d',
      [
        { op: 'in', key: 'a', values: ['x', 'y'] },
        { op: 'absent', key: 'b' },
        { op: 'ne', key: 'c', value: 'd' },
      ],
    ],
  ])('%s', (text, terms) => expect(parseLabels(text)).toEqual(terms))

  it.each(['a b', 'k=', '!', '!a=b', 'k in a', 'k in (a', 'in (a)', '=v', 'a)b'])('%j is refused', (text) => {
    expect(['usage', 'empty_selector']).toContain(codeOf(() => parseLabels(text)))
  })

  const labels = { app: 'web', tier: '', __proto__: null } as unknown as Record<string, string>
  it.each<[string, boolean]>([
    ['app', true],
    ['web', true],
    ['we', false],
    ['app=web', true],
    ['app=we', false],
    ['app!=db', true],
    ['app!=web', false],
    ['nope!=x', true],
    ['!app', false],
    ['!nope', true],
    ['app in (db,web)', true],
    ['app in (db)', false],
    ['constructor', false],
    ['toString!=x', true],
    ['hasOwnProperty', false],
  ])('%s on app=web: %s', (text, expected) => {
    expect(matches({ labels: parseLabels(text) }, target('1', { labels }))).toBe(expected)
  })
})

describe('[no-empty-selector] S44 nothing in particular', () => {
  const blanks = [
    '',
    ' ',
    '\t\n',
    '*',
    '**',
    '?*',
    ' * ',
    '$HOME',
    '\x24{TARGET}',
    '\x24{secret:x}',
    '{{ .host }}',
    '<name>',
    'undefined',
    'null',
    '\u00a0',
  ]

  it.each(blanks)('%j is blank', (value) => expect(isBlank(value)).toBe(true))
  it.each(['web', 'a*', '?eb', '$1', 'a<b', 'nullable', '1', '-'])('%j is not', (value) => expect(isBlank(value)).toBe(false))

  it.each(blanks.flatMap((value) => ['name', 'id', ...facetNames].map((key) => [key, value] as const)))(
    '%s=%j is refused, alone and beside a good label',
    (key, value) => {
      const part = key === 'name' || key === 'id' ? { [key]: value } : { facets: { [key]: value } }
      expect(codeOf(() => refuseEmpty(part))).toBe('empty_selector')
      expect(codeOf(() => refuseEmpty({ ...part, labels: [{ op: 'word', word: 'web' }] }))).toBe('empty_selector')
    },
  )

  it.each(blanks)('a label of %j is refused, as text and as data', (value) => {
    for (const text of [value, `web,${value}`, `k in (a,${value})`, `k=${value}`]) {
      expect(['empty_selector', 'usage']).toContain(codeOf(() => parseLabels(text)))
    }
    const terms: readonly LabelTerm[] = [
      { op: 'word', word: value },
      { op: 'exists', key: value },
      { op: 'eq', key: 'k', value },
      { op: 'eq', key: value, value: 'v' },
      { op: 'in', key: 'k', values: ['a', value] },
    ]
    for (const term of terms) expect(codeOf(() => refuseEmpty({ labels: [term] }))).toBe('empty_selector')
  })

  it.each<[string, Selector]>([
    ['nothing', {}],
    ['only where', { on: 'prod' }],
    ['only how many', { any: 3 }],
    ['only where and how many', { on: 'prod', any: 3, system: true }],
    [
      'only "not"',
      {
        labels: [
          { op: 'ne', key: 'a', value: 'b' },
          { op: 'absent', key: 'c' },
        ],
      },
    ],
    ['no labels', { labels: [] }],
    ['no facets', { facets: {} }],
    ['a facet without a value', { facets: { stack: undefined } as never }],
    ['a list of no values', { labels: [{ op: 'in', key: 'k', values: [] }] }],
    ['any of none', { name: 'a', any: 0 }],
    ['any of less than none', { name: 'a', any: -1 }],
    ['any of no number', { name: 'a', any: Number.NaN }],
  ])('%s runs nowhere', (_, selector) => {
    expect(codeOf(() => refuseEmpty(selector))).toBe('empty_selector')
    expect(codeOf(() => select(selector, [target('1')]))).toBe('empty_selector')
  })

  it('all=N is taken only with the exact number', () => {
    const listed = [target('1'), target('2')]
    expect(selected({ all: 2 }, listed)).toEqual(['1', '2'])
    expect(selected({ all: 1 }, listed)).toBe('count_mismatch')
    expect(selected({ all: 3 }, listed)).toBe('count_mismatch')
    expect(selected({ all: 0 }, listed)).toBe('count_mismatch')
  })
})

describe('selection', () => {
  it('an id is a prefix that must mean one container; a whole id beats a longer one', () => {
    const listed = [target('1i16', { engineId: 'abcdef' }), target('1i160', { engineId: 'abffff' })]
    expect(selected({ id: '1i160' }, listed)).toEqual(['1i160'])
    expect(selected({ id: '1i16' }, listed)).toEqual(['1i16'])
    expect(selected({ id: '1i1' }, listed)).toBe('ambiguous')
    expect(selected({ id: 'abc' }, listed)).toEqual(['1i16'])
    expect(selected({ id: 'ab' }, listed)).toBe('ambiguous')
    expect(selected({ id: 'ab', any: 1 }, listed)).toBe('ambiguous')
    expect(selected({ id: 'i16' }, listed)).toBe('no_targets')
    expect(selected({ id: '1i16' }, [target('1i16'), target('1i16', { backend: 'test', id: 'test/1i16' as TargetId })])).toBe(
      'ambiguous',
    )
  })

  it('any=N takes N of them in the order of their names, and says so', () => {
    const listed = ['10', '9', '2'].map((n) => target(n))
    expect(selected({ name: 'shop-*', any: 2 }, listed)).toEqual(['2', '9'])
    expect(select({ name: 'shop-*', any: 2 }, listed)).toMatchObject({ notes: ['any=2: took 2 of 3'] })
    expect(selected({ name: 'shop-*', any: 5 }, listed)).toEqual(['2', '9', '10'])
  })

  it('leaves the platform’s own out and says so, unless system=1', () => {
    const listed = [target('1'), target('2', { system: true })]
    expect(select({ name: 'shop-*' }, listed)).toMatchObject({
      ok: true,
      targets: [{ native: '1' }],
      notes: [expect.stringContaining('system=1')],
    })
    expect(selected({ name: 'shop-*', system: true }, listed)).toEqual(['1', '2'])
    expect(selected({ name: 'shop-2' }, listed)).toBe('no_targets')
    expect(selected({ id: '2' }, listed)).toBe('no_targets')
    expect(selected({ all: 1 }, listed)).toEqual(['1'])
  })

  it('all parts narrow together, and a facet that a target lacks matches nothing', () => {
    const one = target('1', { labels: { app: 'web' }, facets: { stack: 'shop', image: 'nginx:1' } })
    expect(matches({ name: 'shop-1', labels: parseLabels('web'), facets: { stack: 'sh*', image: 'nginx:*' } }, one)).toBe(true)
    expect(matches({ name: 'shop-1', facets: { namespace: 'default' } }, one)).toBe(false)
    expect(matches({ on: 'pro?', name: 'shop-1' }, one)).toBe(true)
    expect(matches({ on: 'test', name: 'shop-1' }, one)).toBe(false)
  })

  it('says whether a bare word was a key or a value', () => {
    const listed = [target('1', { labels: { web: 'x' } }), target('2', { labels: { app: 'web' } })]
    expect(select({ labels: parseLabels('web') }, listed)).toMatchObject({
      notes: ['"web" matched the label key web and app=web'],
    })
  })

  it('a refusal shows what was found', () => {
    const found = select(
      { all: 3 },
      Array.from({ length: 10 }, (_, i) => target(`${i}`)),
    )
    expect(found).toMatchObject({
      failure: { message: expect.stringContaining('and 2 more'), next: expect.stringContaining('all=10') },
    })
  })
})

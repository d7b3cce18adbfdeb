/** What the person typed, out of what Slack made of it: undone once, or refused. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseCommandLine } from '../../../src/core/command-line.ts'
import type { DroverError } from '../../../src/core/errors.ts'
import { restoreSlackText } from '../../../src/frontends/slack/text.ts'
import { escapeText, tokens, toMrkdwn } from '../../../src/playground/slack/typed-text.ts'

const restored = (text: string, source: 'command' | 'event' = 'event') => restoreSlackText(text, source).text

function refusal(text: string, source: 'command' | 'event' = 'event'): DroverError {
  try {
    restoreSlackText(text, source)
  } catch (error) {
    return error as DroverError
  }
  throw new Error(`taken: ${JSON.stringify(text)}`)
}

// [what arrives, what was typed]
const TYPOGRAPHY: readonly (readonly [string, string])[] = [
  ['cmd=“uptime”', 'cmd="uptime"'],
  ['cmd=„uptime“', 'cmd="uptime"'],
  ['cmd=‘uptime’', "cmd='uptime'"],
  ['cmd=‚uptime‛', "cmd='uptime'"],
  ['cmd=“psql -c ‘select 1’”', `cmd="psql -c 'select 1'"`],
  ['cmd=‘echo “$HOME”’', `cmd='echo "$HOME"'`],
  ['cmd="echo ‘$HOME’"', `cmd="echo '$HOME'"`],
  ["cmd='echo “$HOME”'", `cmd='echo "$HOME"'`],
  ['cmd="don’t"', `cmd="don't"`],
  ['cmd=“a \\“b\\” c”', 'cmd="a \\"b\\" c"'],
  ['id=1 -- ls —all', 'id=1 -- ls --all'],
  ['id=1 — ls', 'id=1 -- ls'],
  ['id=1 -- ls –l', 'id=1 -- ls -l'],
  ['label=web\u00a0cmd=uptime', 'label=web cmd=uptime'],
  ['label=web\u3000cmd=uptime', 'label=web cmd=uptime'],
  ['label=web cmd="grep «x»"', 'label=web cmd="grep «x»"'],
]

test.each(TYPOGRAPHY)('S01 S04: %j was typed as %j, and the change is noted', (delivered, typed) => {
  const { text, changes } = restoreSlackText(delivered, 'command')
  expect(text).toBe(typed)
  expect(changes.length > 0).toBe(delivered !== typed)
})

// [what arrives, where it goes wrong, why]
const REFUSED: readonly (readonly [string, number, RegExp])[] = [
  ['cmd="echo “hi”"', 10, /one quotation/],
  ['cmd=“echo "hi"”', 10, /one quotation/],
  ["cmd='it’s'", 7, /one quotation/],
  ['cmd="ls —all"', 8, /-- or -/],
  ['cmd="a – b"', 7, /-- or -/],
  ['id=a—b cmd=x', 4, /-- or -/],
  ['id=1 – ls', 5, /-- or -/],
  ['id=1 -- ls \u2010l', 11, /looks like a hyphen/],
  ['id=1 -- ls \u2212l', 11, /looks like a hyphen/],
  ['cmd="ls…"', 7, /three dots/],
  ['id=1 -- ls …', 11, /three dots/],
  ['cmd="a\u00a0b"', 6, /U\+00A0/],
  ['cmd=a\\\u00a0b', 6, /U\+00A0/],
  ['label=we\u200bb', 8, /U\+200B/],
  ['cmd="a\u200db"', 6, /U\+200D/],
  ['\ufefflabel=web', 0, /U\+FEFF/],
  ['cmd="\u202edwp\u202c"', 5, /U\+202E/],
  ['cmd="\u2066x"', 5, /U\+2066/],
  ['cmd="a\u0000b"', 6, /U\+0000/],
  ['cmd="\u001b[2J"', 5, /U\+001B/],
  ['cmd="\ud800"', 5, /U\+D800/],
  ['cmd=«ls»', 4, /does not quote/],
]

test.each(REFUSED)('S01 S04 S38: %j is refused at %i', (delivered, position, why) => {
  const error = refusal(delivered, 'command')
  expect([error.code, error.position]).toEqual(['mangled_text', position])
  expect(error.message).toMatch(why)
  expect(error.next).toBeTruthy()
})

test('S01: a quote never changes its kind, so what was literal stays literal', () => {
  const line = parseCommandLine(restored('id=1 cmd=‘echo $HOME’', 'command'))
  expect(line).toMatchObject({ command: { argv: ['/bin/sh', '-c', 'echo $HOME'] } })
  expect(restored('id=1 -- printf ‘$HOME’', 'command')).toBe("id=1 -- printf '$HOME'")
})

test.each([
  ['a &amp;&amp; b', 'a && b'],
  ['&amp;lt;', '&lt;'],
  ['&amp;amp;lt;', '&amp;lt;'],
  ['a &gt; b &lt; c', 'a > b < c'],
  ['&quot; &#39; &nbsp; &amp', '&quot; &#39; &nbsp; &amp'],
])('S02: %j is decoded exactly once to %j', (delivered, typed) => {
  expect(restored(delivered, 'event')).toBe(typed)
  expect(restored(delivered, 'command')).toBe(typed)
})

test('a slash command that Slack did not escape keeps its redirections', () => {
  expect(restored('cmd="sort < a > b 2>&1"', 'command')).toBe('cmd="sort < a > b 2>&1"')
})

test.each([
  ['<https://x.example:8443/A?q=1&amp;r=%20#f>', 'https://x.example:8443/A?q=1&r=%20#f'],
  ['<http://deploy.sh|deploy.sh>', 'deploy.sh'],
  ['<http://Example.COM|Example.COM>', 'Example.COM'],
  ['<https://bücher.example/ä|https://bücher.example/ä>', 'https://bücher.example/ä'],
  ['<http://xn--bcher-kva.example/%C3%A4|http://bücher.example/ä>', 'http://bücher.example/ä'],
  ['<mailto:a@b.example|a@b.example>', 'a@b.example'],
  ['<tel:+491234567|+49 123-4567>', '+49 123-4567'],
  ['<ftp://h/x>', 'ftp://h/x'],
])('S03: %s was typed as %s', (delivered, typed) => {
  expect(restored(delivered)).toBe(typed)
})

test.each([
  '<https://evil.example|https://good.example>',
  '<https://x.example|click here>',
  '<mailto:a@b.example|c@d.example>',
  '<tel:+1|+2>',
])('S03: a link that shows one text and leads elsewhere is refused: %s', (delivered) => {
  expect(refusal(`cmd="curl ${delivered}"`)).toMatchObject({ code: 'mangled_text', position: 10 })
})

test.each([
  ['<@U012AB3CD>', /person/],
  ['<@W012AB3CD|alex>', /person/],
  ['<#C012AB3CD|ops>', /channel/],
  ['<#C012AB3CD>', /channel/],
  ['<!subteam^S012|@oncall>', /group/],
  ['<!here>', /group/],
  ['<!channel|channel>', /group/],
  ['<!date^1^{date}|x>', /group/],
])('S05: %s inside a command is refused with an explanation, wherever it came from', (token, why) => {
  for (const source of ['command', 'event'] as const) {
    const error = refusal(`label=web cmd="mail ${token}"`, source)
    expect([error.code, error.position]).toEqual(['mangled_text', 20])
    expect(error.message).toMatch(why)
  }
})

test('mark-up that nobody documented is refused in a message', () => {
  expect(refusal('cmd="<something new>"')).toMatchObject({ code: 'mangled_text', position: 5 })
})

test('a code span around everything is taken off; one inside is the shell’s', () => {
  expect(restored('`label=web cmd="a &amp;&amp; b"`')).toBe('label=web cmd="a && b"')
  expect(restored('```\nlabel=web cmd=x\n```').trim()).toBe('label=web cmd=x')
  expect(restored('label=web cmd="echo `date`"')).toBe('label=web cmd="echo `date`"')
})

test('[bounded] a text far longer than a command is refused before it is read', () => {
  expect(refusal('<'.repeat(100_001))).toMatchObject({ code: 'mangled_text', position: 100_000 })
})

// ---- encode → decode is the identity ---------------------------------------------------------

const runs = 10_000
const nobody = { people: [], channels: [], groups: [] }

/** What a person can type that neither Slack nor drover takes for typography. */
const typeable = fc
  .string({
    unit: fc.oneof(
      fc.integer({ min: 0x20, max: 0x7e }).map((c) => String.fromCharCode(c)),
      fc.constantFrom(...'äßéЖ漢字🙂&<>"\'|#@!'),
    ),
    maxLength: 60,
  })
  .filter((text) => !/^\s*`/.test(text))

test('S02: any text that Slack escapes comes back as it was typed', () => {
  fc.assert(
    fc.property(typeable, (typed) => {
      expect(restored(escapeText(typed), 'event')).toBe(typed)
    }),
    { numRuns: runs },
  )
}, 90_000)

const host = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,8}[a-z]\.(com|dev|sh|de)$/)
const url = fc
  .tuple(
    fc.constantFrom('http://', 'https://', 'HTTPS://'),
    host,
    fc.option(
      fc.integer({ min: 1, max: 65535 }).map((port) => `:${port}`),
      { nil: '' },
    ),
    fc.option(fc.stringMatching(/^\/[A-Za-z0-9._~%äЖ漢-]{0,12}$/), { nil: '' }),
    fc.option(fc.stringMatching(/^\?[A-Za-z]{1,4}=[A-Za-z0-9äЖ]{0,6}(&[a-z]{1,3}=[0-9]{1,3})?$/), { nil: '' }),
  )
  .map((parts) => parts.join(''))
const mail = fc.stringMatching(/^[a-z]{1,8}@[a-z]{1,8}\.example$/)

test('S03: any mix of words, links, bare names and addresses comes back as it was typed', () => {
  const word = fc.oneof(url, host, mail, fc.stringMatching(/^[A-Za-z0-9$&<>=|;-]{1,8}$/))
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 6 }), fc.constantFrom(' ', ' && ', '  '), (words, gap) => {
      const typed = words.join(gap)
      expect(restored(toMrkdwn(tokens(typed, nobody)), 'event')).toBe(typed)
    }),
    { numRuns: runs },
  )
})

test('S04: whatever arrives, what is taken holds no invisible character and no typographic quote or dash', () => {
  const strange = fc.constantFrom(...'“”‘’„—–…\u00a0\u200b\u202e\ufeff\u2028"\'\\ <>&;|a=-')
  fc.assert(
    fc.property(
      fc.string({ unit: strange, maxLength: 24 }),
      fc.constantFrom('command' as const, 'event' as const),
      (text, source) => {
        let taken = ''
        try {
          taken = restored(text, source)
        } catch (error) {
          expect((error as DroverError).code).toBe('mangled_text')
          const { position } = error as DroverError
          expect(position !== undefined && position >= 0 && position < text.length).toBe(true)
        }
        expect(taken).not.toMatch(/[“”‘’„—–…\u00a0\u200b\u202e\ufeff\u2028]/)
      },
    ),
    { numRuns: runs },
  )
})

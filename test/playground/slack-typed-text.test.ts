/** What the pretend Slack makes of typed text: escapes, links and mentions. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { escapeText, tokens, toMrkdwn, toRichText, unescapeText } from '../../src/playground/slack/typed-text.ts'
import { playWorkplace } from '../../src/playground/slack/workplace.ts'

const typed = (text: string) => toMrkdwn(tokens(text, playWorkplace))

const rows: readonly (readonly [text: string, sent: string])[] = [
  ['a && b > c < d', 'a &amp;&amp; b &gt; c &lt; d'],
  ['already &amp; so', 'already &amp;amp; so'],
  ['@drover label=web', '<@U0DROVER> label=web'],
  ['@nobody and mail@', '@nobody and mail@'],
  ['ask @oncall in #ops', 'ask <!subteam^S0ONCALL> in <#C0OPS|ops>'],
  ['wake @here and @channel', 'wake <!here> and <!channel>'],
  ['curl http://a.example:8080/x?a=1&b=2', 'curl <http://a.example:8080/x?a=1&amp;b=2>'],
  ['see https://a.example/x.', 'see <https://a.example/x>.'],
  ['cmd="curl http://a.example/"', 'cmd="curl <http://a.example/>"'],
  ['run install.sh now', 'run <http://install.sh|install.sh> now'],
  ['mail a.b@example.com', 'mail <mailto:a.b@example.com|a.b@example.com>'],
  ['`rm x.sh && ls`', '`rm x.sh &amp;&amp; ls`'],
]

test.for(rows)('%j is sent as %j', ([text, sent]) => {
  expect(typed(text)).toBe(sent)
})

test('escaping is undone by one decoding, for every text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      expect(escapeText(text)).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/)
      expect(unescapeText(escapeText(text))).toBe(text)
    }),
    { numRuns: 2000 },
  )
})

test('the tokens of every text, written plainly again, are that text', () => {
  const pieces = fc.constantFrom(
    'http://a.b',
    'x.sh',
    '@drover',
    '#ops',
    '`',
    '&',
    '<',
    '>',
    ' ',
    '"',
    '“',
    'a@b.de',
    '|',
    '/',
    '\n',
  )
  const text = fc.array(fc.oneof(pieces, fc.string({ maxLength: 4 })), { maxLength: 12 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text, (one) => {
      const parts = tokens(one, playWorkplace)
      const back = parts.map((token) => {
        switch (token.type) {
          case 'text':
          case 'link':
            return token.text
          case 'code':
            return `\`${token.text}\``
          case 'broadcast':
            return `@${token.range}`
          default:
            return `${token.type === 'channel' ? '#' : '@'}${token.name}`
        }
      })
      expect(back.join('').toLowerCase()).toBe(one.toLowerCase())
      // Whatever was typed, angle brackets in what is sent are Slack's own.
      expect(toMrkdwn(parts).replace(/<[^<>]*>/g, '')).not.toMatch(/[<>]/)
    }),
    { numRuns: 3000 },
  )
})

test('rich text carries what was typed unescaped', () => {
  expect(toRichText(tokens('@drover a && b', playWorkplace))).toMatchObject([
    {
      elements: [
        {
          elements: [
            { type: 'user', user_id: 'U0DROVER' },
            { type: 'text', text: ' a && b' },
          ],
        },
      ],
    },
  ])
})

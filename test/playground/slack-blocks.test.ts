/** What the pretend Slack takes for a layout of blocks, and what it refuses. */

import { expect, test } from 'vitest'
import { blockProblems, escapedLength } from '../../src/playground/slack/block-rules.ts'

const plain = (text: string) => ({ type: 'plain_text', text })
const mrkdwn = (text: string) => ({ type: 'mrkdwn', text })
const button = (more: object = {}) => ({ type: 'button', action_id: 'a', text: plain('Go'), ...more })
const actions = (...elements: object[]) => ({ type: 'actions', elements })
const pre = (text: string) => ({
  type: 'rich_text',
  elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'text', text }] }],
})
const x = (count: number) => 'x'.repeat(count)
const times = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index))
const option = (text: string, value: string) => ({ text: plain(text), value })
const menu = (options: object[]) => actions({ type: 'static_select', action_id: 's', options })
const confirm = (text: string) =>
  actions(button({ confirm: { title: plain('T'), text: plain(text), confirm: plain('Y'), deny: plain('N') } }))

/** The largest that passes, the smallest that does not, and the pointer of the refusal. */
const limits: readonly (readonly [what: string, fits: object[], refused: object[], pointer: string])[] = [
  ['50 blocks', times(50, () => ({ type: 'divider' })), times(51, () => ({ type: 'divider' })), '/blocks'],
  [
    'section 3,000',
    [{ type: 'section', text: mrkdwn(x(3000)) }],
    [{ type: 'section', text: mrkdwn(x(3001)) }],
    '/blocks/0/text/text',
  ],
  [
    'section 3,000 after escaping',
    [{ type: 'section', text: plain('&'.repeat(600)) }],
    [{ type: 'section', text: plain('&'.repeat(601)) }],
    '/blocks/0/text/text',
  ],
  [
    'section 3,000, escapes of the sender counted once',
    [{ type: 'section', text: mrkdwn('&amp;'.repeat(600)) }],
    [{ type: 'section', text: mrkdwn(`${'&amp;'.repeat(600)}x`) }],
    '/blocks/0/text/text',
  ],
  [
    'field 2,000',
    [{ type: 'section', fields: [plain(x(2000))] }],
    [{ type: 'section', fields: [plain(x(2001))] }],
    '/blocks/0/fields/0/text',
  ],
  [
    '10 fields',
    [{ type: 'section', fields: times(10, () => plain('x')) }],
    [{ type: 'section', fields: times(11, () => plain('x')) }],
    '/blocks/0/fields',
  ],
  ['header 150', [{ type: 'header', text: plain(x(150)) }], [{ type: 'header', text: plain(x(151)) }], '/blocks/0/text/text'],
  [
    'button text 75',
    [actions(button({ text: plain(x(75)) }))],
    [actions(button({ text: plain(x(76)) }))],
    '/blocks/0/elements/0/text/text',
  ],
  [
    'button value 2,000',
    [actions(button({ value: x(2000) }))],
    [actions(button({ value: x(2001) }))],
    '/blocks/0/elements/0/value',
  ],
  [
    'action_id 255',
    [actions(button({ action_id: x(255) }))],
    [actions(button({ action_id: x(256) }))],
    '/blocks/0/elements/0/action_id',
  ],
  ['block_id 255', [{ type: 'divider', block_id: x(255) }], [{ type: 'divider', block_id: x(256) }], '/blocks/0/block_id'],
  [
    '25 actions',
    [actions(...times(25, (index) => button({ action_id: `a${index}` })))],
    [actions(...times(26, (index) => button({ action_id: `a${index}` })))],
    '/blocks/0/elements',
  ],
  [
    '10 context elements',
    [{ type: 'context', elements: times(10, () => plain('x')) }],
    [{ type: 'context', elements: times(11, () => plain('x')) }],
    '/blocks/0/elements',
  ],
  ['rich text 3,000', [pre(x(3000))], [pre(x(3001))], '/blocks/0'],
  ['rich text 3,000 after escaping', [pre('<'.repeat(750))], [pre('<'.repeat(751))], '/blocks/0'],
  ['markdown 12,000', [{ type: 'markdown', text: x(12_000) }], [{ type: 'markdown', text: x(12_001) }], '/blocks/0/text'],
  ['confirm text 300', [confirm(x(300))], [confirm(x(301))], '/blocks/0/elements/0/confirm/text/text'],
  [
    '100 options',
    [menu(times(100, (n) => option('x', `${n}`)))],
    [menu(times(101, (n) => option('x', `${n}`)))],
    '/blocks/0/elements/0/options',
  ],
  ['option text 75', [menu([option(x(75), 'v')])], [menu([option(x(76), 'v')])], '/blocks/0/elements/0/options/0/text/text'],
  [
    'table 100 rows',
    [{ type: 'table', rows: times(100, () => [{ type: 'raw_text', text: 'x' }]) }],
    [{ type: 'table', rows: times(101, () => [{ type: 'raw_text', text: 'x' }]) }],
    '/blocks/0/rows',
  ],
  [
    'one table',
    [{ type: 'table', rows: [[{ type: 'raw_text', text: 'x' }]] }],
    times(2, () => ({ type: 'table', rows: [[{ type: 'raw_text', text: 'x' }]] })),
    '/blocks/1',
  ],
  [
    'container of 10',
    [{ type: 'container', child_blocks: times(10, () => ({ type: 'divider' })) }],
    [{ type: 'container', child_blocks: times(11, () => ({ type: 'divider' })) }],
    '/blocks/0/child_blocks',
  ],
]

test.for(limits)('%s: what fits passes, one more is refused', ([, fits, refused, pointer]) => {
  expect(blockProblems(fits)).toEqual([])
  expect(blockProblems(refused)).toEqual([expect.stringMatching(new RegExp(`\\[json-pointer:${pointer}\\]$`))])
})

const wrong: readonly (readonly [what: string, blocks: unknown])[] = [
  ['a block that is no object', ['x']],
  ['an unknown block', [{ type: 'blink' }]],
  ['a block named like a property of every object', [{ type: 'constructor' }]],
  ['an unknown property', [{ type: 'divider', color: 'red' }]],
  ['a section without text', [{ type: 'section' }]],
  ['an empty text', [{ type: 'section', text: mrkdwn('') }]],
  ['mrkdwn in a header', [{ type: 'header', text: mrkdwn('x') }]],
  ['mrkdwn on a button', [actions(button({ text: mrkdwn('x') }))]],
  ['an unknown style of button', [actions(button({ style: 'loud' }))]],
  ['an input outside an input block', [actions({ type: 'plain_text_input', action_id: 'a' })]],
  ['a button in an input block', [{ type: 'input', label: plain('x'), element: button() }]],
  ['no actions at all', [{ type: 'actions', elements: [] }]],
  ['the same action_id twice', [actions(button()), actions(button())]],
  [
    'the same block_id twice',
    [
      { type: 'divider', block_id: 'b' },
      { type: 'divider', block_id: 'b' },
    ],
  ],
  ['an unknown part of rich text', [{ type: 'rich_text', elements: [{ type: 'rich_text_code', elements: [] }] }]],
  [
    'an unknown leaf of rich text',
    [{ type: 'rich_text', elements: [{ type: 'rich_text_section', elements: [{ type: 'html' }] }] }],
  ],
  ['an empty leaf of rich text', [pre('')]],
  [
    'a mention inside preformatted text',
    [{ type: 'rich_text', elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'user', user_id: 'U0ALEX' }] }] }],
  ],
]

test.for(wrong)('%s is refused', ([, blocks]) => {
  expect(blockProblems(blocks)).not.toEqual([])
})

test('a modal may hold 100 blocks', () => {
  expect(
    blockProblems(
      times(100, () => ({ type: 'divider' })),
      'modal',
    ),
  ).toEqual([])
  expect(
    blockProblems(
      times(101, () => ({ type: 'divider' })),
      'modal',
    ),
  ).toHaveLength(1)
})

test('characters are code points', () => {
  expect(escapedLength('🐑🐑', 'plain_text')).toBe(2)
})

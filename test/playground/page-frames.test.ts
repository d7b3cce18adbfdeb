/** What goes over the wires, as the protocol view shows it: named, decoded, and without secrets. */

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Failure } from '../../src/core/errors.ts'
import type { TargetId } from '../../src/core/model.ts'
import { channelReader } from '../../src/playground/page/channels.ts'
import { deliveryLine, ledgerLine, trafficLine } from '../../src/playground/page/entries.ts'
import { frameReader, type Part } from '../../src/playground/page/frames.ts'

const nonce = 'abcdefghijklmnopqrstuv'
const frame = (content: string) => `\x1e${nonce} ${content}\x1f${nonce}`
const said = `${frame('p41')}one\n${frame('eerr: ä')}two\n${frame('x3')}${frame('z')}`

/** Docker's header before each piece. */
function withHeader(text: string): Buffer {
  const payload = Buffer.from(text)
  const header = Buffer.alloc(8)
  header[0] = 1
  header.writeUInt32BE(payload.length, 4)
  return Buffer.concat([header, payload])
}

/** Everything said in all pieces; output that was cut is put together again. */
function read(pieces: readonly Uint8Array[]): readonly Part[] {
  const reader = frameReader()
  reader.client(Buffer.from(`${nonce}\n`))
  const parts = pieces.flatMap((piece) => reader.host(piece)).filter(({ name }) => name !== 'Docker header')
  const joined: Part[] = []
  for (const part of parts) {
    const last = joined.at(-1)
    if (part.name === 'output' && last?.name === 'output') joined[joined.length - 1] = { ...part, text: last.text + part.text }
    else joined.push(part)
  }
  return joined
}

const expected = [
  { name: 'drover frame “p”', text: 'the wrapper began, pid 41' },
  { name: 'output', text: 'one\n' },
  { name: 'drover frame “e”', text: 'stderr, a line: err: ä' },
  { name: 'output', text: 'two\n' },
  { name: 'drover frame “x”', text: 'the command exited with code 3' },
  { name: 'drover frame “z”', text: 'nothing more comes on stderr' },
]

test.for([
  ['generation A, without headers', Buffer.from(said)],
  ['generation B, with headers', Buffer.concat([withHeader(said.slice(0, 40)), withHeader(said.slice(40))])],
] as const)('%s: headers and frames are named wherever they are cut', ([, whole]) => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 12 }), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), whole.length]
      expect(read(at.slice(1).map((end, index) => whole.subarray(at[index], end)))).toEqual(expected)
    }),
    { numRuns: 200 },
  )
})

const onChannel = (channel: number, text: string) => Buffer.concat([Buffer.from([channel]), Buffer.from(text)])

test('what goes over a Kubernetes websocket is named: channels, drover’s marks, and the output around them', () => {
  const reader = channelReader()
  expect(reader.host(onChannel(2, '\x1e0123abcd p41\n'))).toEqual([
    { name: 'drover mark “p”', text: 'the wrapper is there, pid 41, and waits for its line' },
  ])
  const [first] = reader.client(onChannel(0, `${nonce}\n`))
  expect(first?.name).toBe('nonce')
  expect(first?.text).not.toContain(nonce)
  expect(reader.client(onChannel(0, `${nonce}\n`))).toEqual([{ name: 'channel 0, stdin', text: `${nonce}\n` }])
  expect(reader.client(onChannel(0, ''))[0]?.text).toContain('keeps the connection')
  expect(reader.host(onChannel(1, 'one\n'))).toEqual([{ name: 'channel 1, stdout', text: 'one\n' }])
  const told = reader.host(onChannel(2, `last words\n\x1e${nonce} x3\n`))
  expect(told).toEqual([
    { name: 'channel 2, stderr', text: 'last words\n' },
    { name: 'drover mark “x”', text: 'the command exited with code 3' },
  ])
  expect(reader.host(onChannel(3, '{"status":"Success"}'))).toEqual([{ name: 'channel 3, status', text: '{"status":"Success"}' }])
})

test('what Slack sends is called as it was typed, or by the button that was pressed', () => {
  const delivery = { status: 200, body: '', triggerId: '', headers: {} }
  const titled = (fields: Record<string, string>) =>
    deliveryLine({ ...delivery, rawBody: new URLSearchParams(fields).toString() }).title
  expect(titled({ command: '/exec', text: 'cmd="a &amp;&amp; b 2&gt;&amp;1 &amp;lt;"' })).toBe(
    'Slack sends /exec cmd="a && b 2>&1 &lt;"',
  )
  const actions = [{ action_id: 'x', text: { type: 'plain_text', text: 'Share to…' } }]
  expect(titled({ payload: JSON.stringify({ type: 'block_actions', actions }) })).toBe(
    'Slack sends block_actions: the button “Share to…”',
  )
  expect(titled({ payload: JSON.stringify({ type: 'view_submission' }) })).toBe('Slack sends view_submission')
})

test('[no-secret-shown] the nonce, signature, token and response URL are cut short', () => {
  expect(frameReader().client(Buffer.from(`${nonce}\n`))[0]?.text).not.toContain(nonce)
  const body = new URLSearchParams({ command: '/exec', text: 'label=web', response_url: 'http://x/response/secret-secret' })
  const delivery = { status: 200, body: '', triggerId: '', headers: { 'x-slack-signature': `v0=${'a1'.repeat(32)}` } }
  const text = JSON.stringify(deliveryLine({ ...delivery, rawBody: body.toString() }))
  expect(text).toContain('x-slack-signature: v0=a1a1a1a1…')
  expect(text).not.toContain('secret-secret')
  const token = `eyJhbGciOiJSUzI1NiJ9.${Buffer.from('{"exec":{"Cmd":["uptime"]}}').toString('base64url')}.${'c'.repeat(80)}`
  const http = { type: 'http', at: 1, method: 'POST', path: '/x', request: '', status: 200 } as const
  const line = JSON.stringify(trafficLine({ ...http, response: JSON.stringify({ token, url: 'ws://x' }) }, frameReader()))
  expect(line).not.toContain(token)
  expect(line).toContain('uptime')
})

test('a ledger line has its own hash and the one before it', () => {
  const stored = { seq: 2, at: 1, hash: 'b'.repeat(64), event: { type: 'delivered' } } as const
  const text = JSON.stringify(ledgerLine(stored, 'a'.repeat(64)))
  expect(text).toContain('b'.repeat(64))
  expect(text).toContain(`after ${'a'.repeat(12)}…`)
})

test('a plan is told with what changes and what is sent', () => {
  const target = 'kube/store:api' as TargetId
  const plan = { facts: [{ name: 'image main', before: 'a:1', after: 'a:2' }], change: 'PATCH /x', seal: 'f00d' }
  const line = ledgerLine({ seq: 2, at: 1, hash: 'b'.repeat(64), event: { type: 'planned', target, plan } }, '')
  expect(line.title).toBe('planned: kube/store:api')
  expect(line.parts).toContainEqual({ name: 'before and after', text: 'image main  a:1 → a:2' })
  expect(line.parts).toContainEqual({ name: 'what is sent', text: 'PATCH /x' })
})

test('what could not be found is not called denied by a rule', () => {
  const decided = (failure: Failure, rule?: string) => {
    const decision = { effect: 'deny', failure, ...(rule === undefined ? {} : { rule }) } as const
    return ledgerLine({ seq: 2, at: 1, hash: 'b'.repeat(64), event: { type: 'decided', decision, policy: 'p' } }, '').title
  }
  expect(decided({ code: 'no_targets', message: 'No running container matches.' })).toBe('refused: no_targets')
  expect(decided({ code: 'denied', message: 'No.' })).toBe('denied: no rule allows it')
  expect(decided({ code: 'denied', message: 'No.' }, 'reminder')).toBe('denied by the rule “reminder”')
})

/** What the browser runs, as it is. */
const { suggest } = (await import(new URL('../../src/playground/page/suggest.js', import.meta.url).href)) as {
  suggest(text: string, caret: number, offers: object): { readonly choices: readonly { readonly text: string }[] } | undefined
}

const offers = {
  labels: ['app=shop', 'role=web'],
  names: ['shop-web-1', 'shop-web-2', 'blog-1'],
  stacks: ['shop'],
  deployments: ['api'],
  containers: ['main'],
  images: ['repo:1', 'repo:2'],
}
const after = (text: string) => suggest(text, text.length, offers)?.choices.map((one) => one.text)

test.for([
  ['/', ['/exec ', '/rollout ']],
  ['/r', ['/rollout ']],
  ['/rollout ', ['image ', 'restart ', 'scale ', 'undo ', 'pause ', 'resume ', 'finish ', 'status ', 'why ', 'help ']],
  ['/rollout why im', ['image ']],
  ['/rollout image depl', ['deployment=']],
  ['/rollout image deployment=', ['api ']],
  ['/rollout image deployment=api c', ['container=', 'service=', 'stack=', 'namespace=']],
  ['/rollout image deployment=api container=main image=repo:', ['repo:1 ', 'repo:2 ']],
  ['@drover rollout scale deployment=api rep', ['replicas=']],
  ['/rollout restart deployment=api rep', undefined],
  ['/exec st', ['stack=']],
  ['/exec stack=', ['shop ']],
  ['/exec name=shop-', ['shop-web-* ', 'shop-web-1 ', 'shop-web-2 ']],
  ['/exec label=app=shop,ro', ['role=web ']],
  ['@drover timeout=2', ['20s ']],
  ['/exec cmd="df -', ['"df -h" ']],
  ['/exec cmd="grep st', undefined],
  ['/exec name=x -- st', undefined],
  ['no command st', undefined],
] as const)('after %s comes %s', ([text, wanted]) => {
  expect(after(text)).toEqual(wanted)
})

test('a word that was used is not offered again', () => {
  expect(after('/exec label=web ')).not.toContain('label=')
})

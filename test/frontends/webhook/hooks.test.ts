/** Webhooks: signed, fresh, once, and never more than the request that the configuration ties to them. */

import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { RunRequest, Target, TargetId } from '../../../src/core/model.ts'
import { decide } from '../../../src/core/policy.ts'
import type { Gateway } from '../../../src/core/ports.ts'
import type { Rule } from '../../../src/core/rule.ts'
import { reduce } from '../../../src/core/run-state.ts'
import { type Hook, hookRoutes, prepareHook } from '../../../src/frontends/webhook/hooks.ts'
import { openSqlite } from '../../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../../src/ledger/ledger.ts'

const secret = 'a-hook-secret-of-some-length'
const now = Date.parse('2026-03-01T12:00:00Z')
const hook: Hook = {
  secrets: [secret, 'the-next-secret-in-rotation'],
  channel: 'T1/C1',
  thread: { pointer: '/thread' },
  request: 'label=web timeout=20s -- df -h {path}',
  parameters: { path: { pointer: '/disk/path', type: 'path' } },
}

async function setUp(hooks: Record<string, Hook> = { disk: hook }) {
  const ledger = await createLedger(openSqlite(':memory:'), { now: () => now })
  const submitted: RunRequest[] = []
  const gateway = {
    async submit(request: RunRequest) {
      const accepted = await ledger.accept(request)
      if (accepted === 'accepted') submitted.push(request)
      return accepted
    },
    read: async (run: RunRequest['id']) => reduce(await ledger.read(run)),
    firstTime: ledger.firstTime,
  } as Gateway
  const app = hookRoutes(hooks, gateway, { now: () => now })
  const sign = (body: string, options: { at?: number; key?: string } = {}) => {
    const timestamp = String(Math.floor((options.at ?? now) / 1000))
    const signature = createHmac('sha256', options.key ?? secret)
      .update(`v1:${timestamp}:${body}`)
      .digest('hex')
    return { 'x-drover-timestamp': timestamp, 'x-drover-signature': `v1=${signature}` }
  }
  const post = async (body: string, headers: Record<string, string>, path = '/hooks/disk') => {
    const response = await app.request(path, { method: 'POST', body, headers })
    return {
      status: response.status,
      body: (await response.json()) as { run?: string; duplicate?: true; error?: { message: string; next?: string } },
    }
  }
  return { submitted, sign, post }
}

const body = JSON.stringify({ disk: { path: '/var/lib' }, thread: '1712345678.000100' })

describe('webhooks', () => {
  it('a signed request runs the one request of its hook, as the hook, answered in its thread', async () => {
    const { submitted, sign, post } = await setUp()
    expect((await post(body, sign(body))).status).toBe(202)
    expect(submitted).toEqual([
      expect.objectContaining({
        actor: { kind: 'webhook', name: 'disk' },
        selector: { labels: [{ op: 'word', word: 'web' }] },
        command: { argv: ['df', '-h', '/var/lib'] },
        timeoutMs: 20_000,
        place: { kind: 'slack', team: 'T1', channel: 'C1', threadTs: '1712345678.000100' },
      }),
    ])
  })

  it('[once] S25 S27 the same delivery again, signed anew, is told the same run and runs nothing', async () => {
    const { submitted, sign, post } = await setUp()
    const delivery = { 'x-drover-delivery': 'alert-7' }
    const first = await post(body, { ...sign(body), ...delivery })
    const again = await post(body, { ...sign(body, { at: now + 61_000 }), ...delivery })
    expect(again).toEqual({ status: 202, body: { run: first.body.run, duplicate: true } })
    expect(submitted).toHaveLength(1)
  })

  it('S27 a replay of the same bytes under another delivery id is refused', async () => {
    const { submitted, sign, post } = await setUp()
    const signed = sign(body)
    await post(body, { ...signed, 'x-drover-delivery': 'one' })
    expect((await post(body, { ...signed, 'x-drover-delivery': 'two' })).status).toBe(401)
    expect(submitted).toHaveLength(1)
  })

  it.each([
    ['no signature', () => ({})],
    ['another key', (sign: Sign) => sign(body, { key: 'not-the-key-of-this-hook' })],
    ['a signature over another body', (sign: Sign) => sign(`${body} `)],
    ['a signature cut short', (sign: Sign) => ({ ...sign(body), 'x-drover-signature': 'v1=abcd' })],
  ])('S27 %s is refused, and the sender is told how to sign', async (_, headers) => {
    const { submitted, sign, post } = await setUp()
    const answer = await post(body, headers(sign))
    expect(answer.status).toBe(401)
    expect(answer.body.error?.next).toContain('HMAC-SHA256')
    expect(submitted).toHaveLength(0)
  })

  it.each([
    [-301_000, '301 s behind'],
    [-4_200_000, '70 minutes behind'],
    [+420_000, '420 s ahead of'],
  ])('S27 a timestamp %d ms away is refused, and the sender is told about the clock', async (off, words) => {
    const { submitted, sign, post } = await setUp()
    const { status, body: answer } = await post(body, sign(body, { at: now + off }))
    expect([status, submitted]).toEqual([401, []])
    expect(answer.error?.message).toContain(`${words} drover's clock (2026-03-01T12:00:00.000Z)`)
    expect(answer.error?.next).toContain('Set the clocks of both machines')
    expect((await post(body, sign(body, { at: now + Math.sign(off) * 299_000 }))).status).toBe(202)
    expect((await post(body, sign(body, { at: now + Math.sign(off) * 301_000 }))).status).toBe(401)
  })

  it('S27 who has no key learns nothing about the clock', async () => {
    const { sign, post } = await setUp()
    const { body: answer } = await post(body, sign(body, { at: now - 420_000, key: 'not-the-key-of-this-hook' }))
    expect(JSON.stringify(answer)).not.toContain('clock')
  })

  it('S27 a key in the query string is refused even beside a good signature', async () => {
    const { submitted, sign, post } = await setUp()
    expect((await post(body, sign(body), `/hooks/disk?key=${secret}`)).status).toBe(401)
    expect(submitted).toHaveLength(0)
  })

  it('S27 both keys are good while one replaces the other', async () => {
    const { submitted, sign, post } = await setUp()
    expect((await post(body, sign(body, { key: 'the-next-secret-in-rotation' }))).status).toBe(202)
    expect(submitted).toHaveLength(1)
  })

  it('a hook that is not there answers like a wrong signature', async () => {
    const { sign, post } = await setUp()
    expect((await post(body, sign(body), '/hooks/other')).status).toBe(401)
  })

  it.each([
    ['; rm -rf /'],
    ['-rf'],
    ['/a b'],
    ['/a\nb'],
    ['/$(id)'],
    ['/`id`'],
    [''],
    [42],
    [{ a: 1 }],
    [null],
    [`/${'a'.repeat(600)}`],
  ])('S08 S09 the value %j does not become an argument', async (path) => {
    const { submitted, sign, post } = await setUp()
    const hostile = JSON.stringify({ disk: { path } })
    const answer = await post(hostile, sign(hostile))
    expect(answer.status).toBe(400)
    expect(answer.body.error?.message).toContain('/disk/path')
    expect(answer.body.error?.next).toBe('Send an absolute path without .. and spaces, as text or a number.')
    expect(submitted).toHaveLength(0)
  })

  it('a body that is not JSON, too large, or reaches into prototypes is refused', async () => {
    const { submitted, sign, post } = await setUp({
      disk: { ...hook, parameters: { path: { pointer: '/__proto__/path', type: 'path' } } },
    })
    for (const wrong of ['{', '{"__proto__":{"path":"/x"}', '[]']) expect((await post(wrong, sign(wrong))).status).toBe(400)
    const large = 'x'.repeat(300_000)
    expect((await post(large, sign(large))).status).toBe(413)
    expect(submitted).toHaveLength(0)
  })

  it('braces around what is no parameter are text, also around the name of what every object has', async () => {
    const { submitted, sign, post } = await setUp({
      disk: { ...hook, request: 'label=web -- echo {path} {constructor} {other}' },
    })
    expect((await post(body, sign(body))).status).toBe(202)
    expect(submitted[0]?.command.argv).toEqual(['echo', '/var/lib', '{constructor}', '{other}'])
  })

  it.each([
    ['a parameter inside other text', { request: 'label=web -- df {path}/x' }, /whole argument/],
    ['a parameter as the program', { request: 'label=web -- {path}' }, /program itself/],
    ['a parameter that is not used', { request: 'label=web -- df' }, /not used/],
    ['a parameter in a shell text', { request: `label=web cmd="ls {path} | wc"` }, /whole argument/],
    ['S44 a selector that means everything', { request: 'label=* -- df {path}' }, /does not parse/],
    ['no command', { request: 'targets label=web' }, /has to be a command or a rollout/],
    ['a look at a rollout', { request: 'rollout why restart deployment=api' }, /has to be a command or a rollout/],
    ['a workload from the body', { request: 'rollout restart deployment={path}' }, /whole value of image=, replicas= or to=/],
    ['a part of an image from the body', { request: 'rollout image deployment=a image=shop/api:{path}' }, /does not parse/],
    ['a container from the body', { request: 'rollout image deployment=a image=x container={path}' }, /does not parse/],
    ['an image of a new container from the body', { request: 'image={path} -- df {path}' }, /of a command a whole argument/],
    ['a value that a verb has not', { request: 'rollout restart deployment=a image={path}' }, /does not parse/],
  ])('%s stops the start', (_, part, message) => {
    expect(() => prepareHook('disk', { ...hook, ...part })).toThrow(message)
  })
})

describe('a rollout through a webhook', () => {
  const deploy: Hook = {
    secrets: [secret],
    channel: 'T1/C1',
    request: 'rollout image deployment=api container=main image={image}',
    parameters: { image: { pointer: '/image', type: 'image' } },
  }
  const scale: Hook = {
    ...deploy,
    request: 'rollout scale deployment=api replicas={count} timeout=5m',
    parameters: { count: { pointer: '/count', type: 'number' } },
  }
  const sent = async (hook_: Hook, value: object) => {
    const { submitted, sign, post } = await setUp({ deploy: hook_ })
    const text = JSON.stringify(value)
    const answer = await post(text, sign(text), '/hooks/deploy')
    return { answer, request: submitted[0] }
  }

  it('[exact-argv] is the one of its hook, with the image of the body, and its words say the same', async () => {
    const image = 'registry.example.com/shop/api@sha256:0123'
    const { answer, request } = await sent(deploy, { image })
    expect(answer.status).toBe(202)
    expect(request).toMatchObject({
      actor: { kind: 'webhook', name: 'deploy' },
      trigger: { kind: 'webhook' },
      selector: { facets: { workload: 'deployment/api' } },
      rollout: { verb: 'image', container: 'main', image },
      command: { argv: ['rollout', 'image', `main=${image}`] },
      place: { kind: 'slack', team: 'T1', channel: 'C1' },
    })
    const { request: scaled } = await sent(scale, { count: 4 })
    expect(scaled).toMatchObject({ rollout: { verb: 'scale', replicas: 4 }, command: { argv: ['rollout', 'scale', '4'] } })
    expect(scaled?.timeoutMs).toBe(300_000)
    const { request: plain } = await sent({ ...deploy, request: 'rollout restart deployment=api', parameters: {} }, {})
    expect(plain).toMatchObject({ rollout: { verb: 'restart' }, command: { argv: ['rollout', 'restart'] } })
  })

  it.each<[Hook, object]>([
    [deploy, { image: 'x container=side' }],
    [deploy, { image: 'a=b' }],
    [deploy, { image: '../../evil' }],
    [deploy, { image: 'shop/../evil:1' }],
    [deploy, { image: '*' }],
    [deploy, {}],
    [scale, { count: '1.5' }],
    [scale, { count: 10_001 }],
    [scale, { count: -1 }],
  ])('S09 %j with %j changes nothing', async (hook_, value) => {
    const { answer, request } = await sent(hook_, value)
    expect([answer.status, request]).toEqual([400, undefined])
  })

  it('[default-deny] has the rights of its hook alone, whose rules must name the rollout', async () => {
    const { request } = await sent(deploy, { image: 'shop/api:2' })
    const target: Target = {
      ...{ id: 'kube/api' as TargetId, backend: 'kube', kind: 'kubernetes', native: 'api', name: 'deployment/api' },
      ...{ labels: {}, facets: { workload: 'deployment/api' } },
    }
    const effect = (more: Partial<Rule>) => {
      const rules: readonly Rule[] = [{ id: 'r', effect: 'allow', who: { webhooks: ['deploy'] }, ...more }]
      return decide({ rules, version: 'v1' }, { request: request!, groups: [] }, [target]).effect
    }
    expect(effect({ rollouts: [['image', 'main=shop/*']] })).toBe('allow')
    expect(effect({ rollouts: [['image', 'main=other/*']] })).toBe('deny')
    expect(effect({ commands: [['...']] })).toBe('deny')
    expect(effect({ rollouts: [['...']], who: { webhooks: ['other'] } })).toBe('deny')
    expect(effect({ rollouts: [['...']], who: { teams: ['T1'], cli: true } })).toBe('deny')
  })
})

type Sign = (body: string, options?: { at?: number; key?: string }) => Record<string, string>

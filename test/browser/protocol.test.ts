/** The protocol view: one run on all its wires, as it happens. */

import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type House, openHouse, type Visit } from './open.ts'

let house: House
let here: Visit

beforeAll(async () => {
  house = await openHouse()
})
afterAll(() => house?.close())
beforeEach(async () => {
  here = await house.visit()
  await here.page.getByRole('button', { name: 'Protocol' }).click()
})

const lines = () => here.page.locator('#protocol-list > li')
const titles = async () => (await lines().locator('.what').allInnerTexts()).map((text) => text.replaceAll('\n', ' '))
/** What can be read in the whole panel, opened or not. */
const all = async () => (await here.page.locator('#protocol').textContent()) ?? ''

it('follows a run from the signed request to what was posted, in the order of time', async () => {
  await here.ask('/exec stack=shop service=api cmd="echo out; echo err >&2; exit 3"')
  await lines().filter({ hasText: 'recorded: delivered' }).waitFor()
  const seen = await titles()
  const order = [
    /^Slack sends \/exec stack=shop service=api/,
    /^read: which containers/,
    /GET \/v2-beta\/containers/,
    /found 2 containers/,
    /allowed by the rule “oncall-anything”/,
    /action=execute → 200/,
    /websocket \d+ opens/,
    /→ websocket \d+: nonce/,
    /← websocket \d+: the wrapper began, pid \d+/,
    /ended: exited 3/,
    /chat\.update → ok/,
    /recorded: delivered/,
  ].map((pattern) => seen.findIndex((title) => pattern.test(title)))
  expect(order).not.toContain(-1)
  expect([...order].sort((a, b) => a - b)).toEqual(order)
  const text = await all()
  for (const part of [
    'x-slack-signature: v0=',
    '["/bin/sh","-c","echo out; echo err >&2; exit 3"]',
    'Docker header',
    'stderr, a line: err',
  ])
    expect(text).toContain(part)
  expect(text).toMatch(/drover frame “x”the command exited with code 3/)
  expect(text).toMatch(/after [0-9a-f]{12}…\s*[0-9a-f]{64}/)
  expect(here.complaints).toEqual([])
})

it('[no-secret-shown] shows no signature, token or nonce whole', async () => {
  await here.ask('/exec name=shop-web-1 cmd="uptime"')
  await lines().filter({ hasText: 'recorded: delivered' }).waitFor()
  const text = await all()
  const { slack, rancher } = house.play
  const signatures = slack.deliveries.map(({ headers }) => headers['x-slack-signature']?.slice(3) ?? '')
  for (const secret of [slack.botToken, slack.signingSecret, rancher.environmentKey.secretKey, ...signatures])
    expect(text).not.toContain(secret)
  expect(text).not.toMatch(/eyJ[\w-]{20,}/)
  expect(text).not.toMatch(/\/response\/[\w-]{8,}/)
})

it('names a refusal’s rule, and a 429 of Slack’s', async () => {
  await here.as('Sam')
  await here.refused('/exec label=web cmd="rm -rf /srv"')
  await lines().filter({ hasText: 'denied' }).first().waitFor()
  expect(await all()).toContain('denied by the rule “nothing-destructive”')
  await here.as('Alex')
  house.play.slack.faults.rateLimit('chat.postMessage', { retryAfterS: 1, times: 1 })
  await here.ask('/exec name=shop-web-1 cmd="hostname"')
  await lines().filter({ hasText: 'chat.postMessage → HTTP 429' }).waitFor()
})

it('shows what went to Kubernetes: the list, the websocket with its channels, a change and the looks after it', async () => {
  await here.ask('/exec on=kube deployment=api any=1 cmd="echo out; exit 3"')
  await lines().filter({ hasText: 'recorded: delivered' }).waitFor()
  const seen = await titles()
  const order = [
    /^read: which containers/,
    /GET \/api\/v1\/namespaces\/store\/pods\?.* → 200/,
    /found 1 container/,
    /websocket \d+ opens: \/api\/v1\/namespaces\/store\/pods\/api-[^/]+\/exec/,
    /← websocket \d+: the wrapper is there, pid \d+/,
    /→ websocket \d+: nonce/,
    /← websocket \d+: the command exited with code 3/,
    /← websocket \d+: channel 3, status/,
    /ended: exited 3/,
  ].map((pattern) => seen.findIndex((title) => pattern.test(title)))
  expect(order).not.toContain(-1)
  expect([...order].sort((a, b) => a - b)).toEqual(order)
  expect(await all()).not.toContain(house.play.kube.token('exec-user'))
  await here.say('/rollout restart deployment=api')
  await lines().filter({ hasText: 'PATCH /apis/apps/v1/namespaces/store/deployments/api' }).filter({ hasText: '→ 200' }).waitFor()
})

it('tells apart who ended a websocket', async () => {
  house.play.rancher.faults.dropTcpAfterBytes = 120
  await here.ask('/exec name=shop-web-1 cmd="seq 1 100"')
  house.play.rancher.faults.dropTcpAfterBytes = undefined
  await lines().filter({ hasText: 'the other side ends it without a close frame' }).waitFor()
})

it('shows the run of the open thread, or the one that is chosen; and only the lines that are wanted', async () => {
  await here.ask('/exec name=shop-web-1 cmd="hostname"')
  await here.ask('/exec name=shop-web-2 cmd="whoami"')
  await lines().filter({ hasText: 'shop-web-2' }).first().waitFor()
  await here.page.locator('#thread-close').click()
  const older = here.page.locator('#messages > li').filter({ hasText: 'hostname' }).last()
  await older.getByRole('button', { name: /repl/ }).click()
  await here.page.locator('#protocol-list').getByText('Slack sends /exec name=shop-web-1 cmd="hostname"').waitFor()
  await here.page.getByLabel('Run', { exact: true }).selectOption({ label: await optionFor('whoami') })
  await here.page.locator('#protocol-list').getByText('Slack sends /exec name=shop-web-2 cmd="whoami"').waitFor()
  await here.page.getByRole('button', { name: 'websocket', exact: true }).click()
  expect(await here.page.locator('#protocol-list > li.socket:visible').count()).toBe(0)
  expect(await here.page.locator('#protocol-list > li.drover:visible').count()).toBeGreaterThan(3)
})

async function optionFor(command: string): Promise<string> {
  const options = await here.page.getByLabel('Run', { exact: true }).locator('option').allInnerTexts()
  return options.find((text) => text.endsWith(command)) ?? 'none'
}

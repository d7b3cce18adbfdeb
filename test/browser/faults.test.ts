/** Each fault of the menu, and what drover says in the thread then. */

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
})

/** Switches the fault on, takes the menu's own example, and gives back what drover answered. */
async function broken(id: string, answer: 'thread' | 'refusal' = 'thread'): Promise<string> {
  await here.fault(id)
  const example = here.page.locator(`.fault:has(#fault-${id}) .try-it`)
  const text = (await example.locator('code').textContent()) ?? ''
  await example.click()
  await here.page.waitForFunction((wanted) => document.querySelector<HTMLTextAreaElement>('#composer')?.value === wanted, text)
  try {
    return answer === 'thread' ? await here.ask(text) : await here.refused(text)
  } finally {
    await here.heal()
  }
}

it.for(['generation-a', 'generation-b0'])('%s answers with both streams and the exit code', async (id) => {
  const said = await broken(id)
  expect(said).toMatch(/exit 3/)
  expect(said).toMatch(/out.*stderr\| err/)
})

it('[true-ending] S41 a connection that drops without a close frame is an unknown outcome', async () => {
  const said = await broken('drop')
  expect(said).toMatch(/outcome unknown: The connection ended \(no close frame/)
  expect(said).toContain('0 of 1 ok')
})

it('[true-ending] S41 a polite close in the middle is an unknown outcome as well', async () => {
  expect(await broken('close')).toMatch(/outcome unknown: The connection ended \(close 1000\) before the command said/)
})

it('[true-ending] S41 a close at once, with no output, is not a success', async () => {
  const said = await broken('nothing')
  expect(said).toMatch(/outcome unknown: The connection ended \(close 1000\) before the command began/)
  expect(said).toContain('0 of 1 ok')
})

it('[gone-is-gone] a host that delivers nothing: timed out, and not said to be gone', async () => {
  const said = await broken('stall')
  expect(said).toMatch(/timed out/)
  expect(said).toMatch(/may still run|still running|not proved gone/i)
})

it('a slow Rancher answers later, and Slack has its acknowledgement at once', async () => {
  expect(await broken('slow')).toContain('1 of 1 ok')
  expect(house.play.slack.deliveries.filter(({ failure }) => failure !== undefined)).toEqual([])
})

it('a key that Rancher refuses is a refusal for the asker alone, and nothing ran', async () => {
  const before = house.play.rancher.seen.starts.length
  expect(await broken('unauthorized', 'refusal')).toMatch(/key|credentials|accept/i)
  expect(house.play.rancher.seen.starts).toHaveLength(before)
})

it('a token that the proxy refuses did not run', async () => {
  const before = house.play.rancher.seen.starts.length
  expect(await broken('token')).toMatch(/did not accept its own token/)
  expect(house.play.rancher.seen.starts).toHaveLength(before)
})

it('a server that is down is a refusal, never a shorter list', async () => {
  expect(await broken('down', 'refusal')).toMatch(/502|not answer|nothing answers|unavailable/i)
})

it('Slack’s 429 delays the answer and loses nothing', async () => {
  expect(await broken('slack-429')).toContain('1 of 1 ok')
  const refusals = house.play.slack.calls.filter(({ answered }) => answered.error === 'ratelimited')
  expect(refusals.length).toBeGreaterThan(0)
})

it('[nothing-lost] Slack’s 503 delays the answer and loses nothing', async () => {
  expect(await broken('slack-503')).toContain('1 of 1 ok')
})

it('a container that is stopped is not there', async () => {
  expect(await broken('stopped', 'refusal')).toMatch(/No running container matches/)
  expect(await here.ask('/exec name=shop-web-2 cmd="uptime"')).toContain('1 of 1 ok')
})

it('an image without a shell: its output, and an outcome that nobody can tell', async () => {
  const said = await broken('no-shell')
  expect(said).toContain('app 4.2.0')
  expect(said).toMatch(/unknown: It ended, but without a shell/)
})

it('what is on is seen by every page, from every channel, and healed at once', async () => {
  await here.fault('drop')
  await here.fault('stopped')
  await here.page.getByRole('button', { name: 'Break things: 2' }).waitFor()
  await here.go('random')
  expect(await here.page.locator('#open-faults').textContent()).toBe('Break things: 2')
  await here.page.reload()
  await here.page.getByRole('button', { name: 'Break things: 2' }).click()
  await here.heal()
  expect(house.play.rancher.faults.dropTcpAfterBytes).toBeUndefined()
  expect(house.play.rancher.containers.get('shop-web-2').state).toBe('running')
  expect(here.complaints).toEqual([])
})

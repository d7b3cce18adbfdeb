/** The playground's main path in a real browser: what a newcomer sees in the first five minutes, with a real drover behind it. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type House, openHouse, type Visit } from './open.ts'

describe('the playground', () => {
  let house: House
  let here: Visit

  beforeAll(async () => {
    house = await openHouse()
  })
  afterAll(() => house?.close())
  beforeEach(async () => {
    here = await house.visit()
  })

  it('types /exec, and the answer arrives in a thread that opens', async () => {
    const answer = await here.ask('/exec label=web cmd="uptime"')
    expect(answer).toContain('load average')
    expect(answer).toContain('4 of 4 ok')
  })

  it('shows both streams and the exit code', async () => {
    const answer = await here.ask('/exec stack=shop service=api cmd="echo out; echo err >&2; exit 3"')
    expect(answer).toContain('exit 3')
    expect(answer).toMatch(/stderr\| err/)
  })

  it('ends what is past its deadline, and says that it is gone', async () => {
    const answer = await here.ask('/exec name=shop-web-1 timeout=2s cmd="sleep 60"')
    expect(answer).toMatch(/timed out/)
    expect(answer).not.toContain('still running')
  })

  it('cancels by button, and says that it is gone', async () => {
    await here.say('/exec name=shop-web-1 cmd="sleep 60"')
    const parent = here.page.locator('#messages > li').filter({ hasText: 'sleep 60' }).last()
    await parent.getByRole('button', { name: 'Cancel' }).click()
    await parent.getByRole('button', { name: 'Run again' }).waitFor()
    await here.thread
      .getByText(/cancelled/)
      .first()
      .waitFor()
    expect(await here.thread.textContent()).not.toContain('still running')
  })

  it('shares a result into the incident, where channels have their names', async () => {
    await here.ask('/exec name=shop-web-2 cmd="echo worth sharing"')
    await here.thread.getByRole('button', { name: /Share/ }).click()
    const dialog = here.page.locator('#modal')
    await dialog.getByRole('radio').first().waitFor()
    expect(await dialog.locator('.choices').textContent()).toMatch(/#(inc-123|ops)/)
    expect(await dialog.textContent()).not.toMatch(/C0[A-Z]+/)
    await dialog.locator('input[value=C0INC123]').check()
    await dialog.getByRole('button', { name: 'Share' }).click()
    await here.go('inc-123')
    await here.page.locator('#messages').getByText('worth sharing').first().waitFor()
  })

  it('answers a mention in the thread of an incident', async () => {
    await here.go('inc-123')
    expect(await here.ask('@drover name=shop-web-1 cmd="df -h"')).toContain('Filesystem')
  })

  it('lets Sam look, refuses Sam a shell in private, and says what was missing', async () => {
    await here.as('Sam')
    expect(await here.ask('/exec label=role=api cmd="uptime"')).toContain('load average')
    const refusal = await here.refused('/exec label=app=shop cmd="ps aux | head -3"')
    expect(refusal).toMatch(/Only visible to you.*(No rule|shell)/)
    expect(refusal).toContain('Who may: @oncall')
    await here.as('Alex')
    expect(
      await here.page
        .locator('#messages > li.only')
        .filter({ hasText: /No rule|shell/ })
        .count(),
    ).toBe(0)
  })

  it('refuses a stranger from another company', async () => {
    await here.as('Kim')
    expect(await here.refused('/exec label=web cmd="uptime"')).toMatch(/Only visible to you/)
    expect(await here.page.locator('#channels button').count()).toBe(2)
  })

  it('answers by direct message where drover is not invited, and says to invite it', async () => {
    await here.go('lobby')
    await here.say('/exec label=web cmd="uptime"')
    await here.page.locator('#channels button.unread').filter({ hasText: 'drover' }).click()
    await here.page.locator('#messages').getByText('invite me there').first().waitFor()
  })

  it('says the way back to the channel where a thread beside a panel covers it', async () => {
    const { page, composer, thread } = here
    await here.ask('/exec name=shop-web-1 cmd="hostname"')
    await page.setViewportSize({ width: 1280, height: 800 })
    expect(await page.getByRole('button', { name: '‹ #ops' }).isVisible()).toBe(false)
    await page.getByRole('button', { name: 'Protocol' }).click()
    expect(await composer.isVisible()).toBe(false)
    await page.getByRole('button', { name: '‹ #ops' }).click()
    await composer.waitFor()
    expect([await thread.isVisible(), await page.locator('#protocol').isVisible()]).toEqual([false, true])
    await page.locator('#messages').getByRole('button', { name: '1 reply' }).last().click()
    await page.setViewportSize({ width: 1500, height: 800 })
    expect([await thread.isVisible(), await composer.isVisible()]).toEqual([true, true])
    expect(await page.getByRole('button', { name: '‹ #ops' }).isVisible()).toBe(false)
  })

  it('runs no script from output, and the console stays clean', async () => {
    const answer = await here.ask(`/exec name=shop-web-1 cmd="echo '<img src=x onerror=alert(1)> <!channel>'"`)
    expect(answer).toContain('onerror')
    expect(await here.page.locator('#thread img').count()).toBe(0)
    expect(here.complaints).toEqual([])
  })
})

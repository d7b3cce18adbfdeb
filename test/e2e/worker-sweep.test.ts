/** On Workers, too, what an ended drover left on an engine is swept away: by the trigger of each minute. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { startWorker } from './wrangler.ts'

test('[bounded] the trigger of each minute has engines swept of what is past its time', async () => {
  const asked: string[] = []
  const left = [
    { Id: 'old', Labels: { 'drover.helper': 'new', 'drover.deadline': '1' } },
    { Id: 'young', Labels: { 'drover.helper': 'new', 'drover.deadline': `${Date.now() + 600_000}` } },
  ]
  // As much of an engine as a sweep asks for.
  const engine = createServer((request, response) => {
    const path = new URL(request.url ?? '', 'http://engine').pathname.replace(/^\/v[\d.]+/, '')
    asked.push(`${request.method} ${path}`)
    response.writeHead(200, { 'api-version': '1.41' }).end(path === '/containers/json' ? JSON.stringify(left) : 'OK')
  })
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve))
  const host = `tcp://127.0.0.1:${(engine.address() as AddressInfo).port}`
  const worker = await startWorker(
    `backends: { d: { kind: docker, host: '${host}', plaintext: true, newContainers: {} } }\nrules: [{ id: me, effect: allow, who: { cli: true }, commands: ['...'] }]\n`,
    {},
  )
  try {
    expect((await fetch(`${worker.url}/cdn-cgi/handler/scheduled`)).status).toBe(200)
    await expect.poll(() => asked, { timeout: 20_000 }).toContain('DELETE /containers/old')
    expect(asked.filter((one) => one.startsWith('DELETE'))).toEqual(['DELETE /containers/old'])
  } finally {
    await worker.stop()
    engine.close()
  }
})

/** What goes out as a credential is known before it goes, so that it is masked when it comes back. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createRedactor } from '../../src/core/redact.ts'
import { telling } from '../../src/runtime/credentials.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { privateCa } from '../peers/private-ca.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** A server that says back what it was sent, and a transport to it. */
async function setUp() {
  const server = createServer((request, response) => response.end(request.headers.authorization))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close().closeAllConnections())
  const redactor = createRedactor([])
  const transport = telling(nodeTransport, redactor.learn)
  return { redactor, transport, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` }
}

const soon = () => AbortSignal.timeout(5_000)
const bearer = 'opaque-token-without-a-shape'

test('[no-secret-shown] S33 what went out as a credential is masked when it comes back', async () => {
  const { redactor, transport, url } = await setUp()
  const said = await transport({}).http({ method: 'GET', url, headers: { Authorization: `Bearer ${bearer}` }, signal: soon() })
  expect(said.body).toBe(`Bearer ${bearer}`)
  expect(redactor.text(`it is ${bearer}`).text).toBe('it is [masked: known secret]')
  const headers = { authorization: `basic ${btoa('name:the-password')}` }
  for await (const _ of (await transport({}).stream({ method: 'GET', url, headers, signal: soon() })).body);
  expect(redactor.text('the-password').masked).toBe(1)
  expect(redactor.text(btoa('name:the-password')).masked).toBe(1)
})

test('[no-secret-shown] S33 what went out with an upgrade is known even when it is refused', async () => {
  const { redactor, transport, url } = await setUp()
  const ways = [
    (headers: Record<string, string>) => transport({}).socket(url.replace('http', 'ws'), { headers, signal: soon() }),
    (headers: Record<string, string>) =>
      transport({}).upgrade!({ method: 'POST', url, headers, protocol: 'tcp', signal: soon() }),
  ]
  for (const [n, way] of ways.entries()) {
    await expect(way({ authorization: `Bearer ${bearer}-${n}` })).rejects.toThrow()
    expect(redactor.text(`${bearer}-${n}`).text).toBe('[masked: known secret]')
  }
})

test('[no-secret-shown] S33 the key of a client certificate and the password of a proxy are known before they are used', async () => {
  const { redactor, transport } = await setUp()
  const { cert, key } = privateCa('Client CA')
  transport({ certificate: { cert, key } })
  transport({ proxy: 'http://me:hunter%2Ftwo@127.0.0.1:1' })
  expect(redactor.text(btoa(key)).masked).toBe(1)
  expect(redactor.text('hunter/two hunter%2Ftwo').masked).toBe(2)
  expect(redactor.text(cert).masked).toBe(0)
})

/** What a start loads: a command in a terminal is waited for. */

import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

it('a request of Node’s transport loads no undici, which takes longer than the request', async () => {
  const server = createServer((_, response) => response.setHeader('x-kind', 'plain').end('whole')).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const request = { method: 'GET', url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` }
  const program = `
    import { nodeTransport } from ${JSON.stringify(new URL('../../src/runtime/transport-node.ts', import.meta.url).href)}
    const answer = await nodeTransport().http({ ...${JSON.stringify(request)}, signal: AbortSignal.timeout(10_000) })
    const loaded = process.moduleLoadList.filter((name) => name.includes('undici'))
    console.log(JSON.stringify([answer.body, answer.headers.get('X-Kind'), answer.headers.get('x-other'), loaded]))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]).finally(() =>
    server.close(),
  )
  expect(JSON.parse(stdout)).toEqual(['whole', 'plain', null, []])
})

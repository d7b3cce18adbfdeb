/** The ledger in a Durable Object: the contract in real workerd. */

import { afterAll, beforeAll } from 'vitest'
import { ledgerContract } from '../contract/ledger.ts'
import { remoteBench } from './fixture-rpc.ts'
import { startFixture } from './fixture-worker/start.ts'

let fixture: Awaited<ReturnType<typeof startFixture>>
let objects = 0
beforeAll(async () => {
  fixture = await startFixture()
}, 60_000)
afterAll(() => fixture?.close())

ledgerContract('the ledger in a Durable Object', async () => {
  const name = `ledger-${objects++}`
  return remoteBench(`${fixture.url}/ledger/${name}`)
})

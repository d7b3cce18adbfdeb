/** The ledger in a Durable Object: the contract in real workerd. */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { openObject } from '../../src/ledger/db-object.ts'
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

test('blobs are bytes on both sides, whatever the platform calls them', async () => {
  const seen: unknown[] = []
  const db = openObject({
    sql: {
      exec(_, ...parameters) {
        seen.push(...parameters)
        return { toArray: () => [{ data: new Uint8Array([7]).buffer }] }
      },
    },
    transactionSync: (work) => work(),
    sync: async () => {},
  })
  const rows = await db.batch([{ sql: 'select', parameters: [new Uint8Array([1, 2, 3]).subarray(1)] }])
  expect(seen).toEqual([new Uint8Array([2, 3]).buffer])
  expect(rows).toEqual([[{ data: new Uint8Array([7]) }]])
})

test('[recorded-first] S39 storage that is full or lost refuses with what to do; a broken constraint stays a bug', async () => {
  const storage = (message: string) => ({
    sql: { exec: () => ({ toArray: () => [] }) },
    transactionSync: (): never => {
      throw new Error(message)
    },
    sync: async () => {},
  })
  const batch = (message: string) => openObject(storage(message)).batch([])
  await expect(batch('database or disk is full: SQLITE_FULL')).rejects.toMatchObject({
    code: 'ledger_unavailable',
    next: expect.any(String),
  })
  await expect(batch('UNIQUE constraint failed: run.id: SQLITE_CONSTRAINT')).rejects.not.toHaveProperty('code')
})

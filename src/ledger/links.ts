/** The ledger-wide chain: one link for the last word of each run, and for each event after it. */

import { GENESIS, linkHash } from './chain.ts'
import type { Db } from './db.ts'
import { type EventTable, type LinkTable, prepared, query, send } from './schema.ts'

/** What the next one follows. */
export type Link = Pick<LinkTable, 'n' | 'hash'>

export async function lastOf(db: Db): Promise<Link> {
  const [[last]] = await send(db, [lastLink({})])
  return last ?? { n: 0, hash: GENESIS }
}

export function linked(last: Link, { run, seq, hash }: EventTable): LinkTable {
  const link = { n: last.n + 1, run, seq }
  return { ...link, run_hash: hash, prev: last.hash, hash: linkHash(last.hash, { ...link, runHash: hash }) }
}

const lastLink = prepared<Record<never, never>, Pick<LinkTable, 'n' | 'hash'>>([], () =>
  query.selectFrom('link').select(['n', 'hash']).orderBy('n', 'desc').limit(1),
)
export const insertLink = prepared<LinkTable>(['n', 'run', 'seq', 'run_hash', 'prev', 'hash'], (row) =>
  query.insertInto('link').values(row),
)

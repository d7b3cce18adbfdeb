/** The ledger's database inside a Durable Object: its own SQLite. */

import { DroverError } from '../core/errors.ts'
import type { Db, Row, Statement, Value } from './db.ts'

type ObjectValue = string | number | null | ArrayBuffer

/** The part of `DurableObjectStorage` that is used. */
export type ObjectStorage = {
  readonly sql: { exec(sql: string, ...parameters: ObjectValue[]): { toArray(): Record<string, ObjectValue>[] } }
  transactionSync<T>(work: () => T): T
  sync(): Promise<void>
}

export function openObject(storage: ObjectStorage): Db {
  return {
    async batch(statements: readonly Statement[]): Promise<Row[][]> {
      try {
        const rows = storage.transactionSync(() => statements.map((statement) => perform(storage, statement)))
        // The output gate holds back messages, not our promise: only `sync` makes "resolved" mean "on disk".
        if (statements.some(({ sql }) => !sql.startsWith('select'))) await storage.sync()
        return rows
      } catch (error) {
        throw unavailable(error) ?? error
      }
    },
    async close(): Promise<void> {},
  }
}

function perform(storage: ObjectStorage, { sql, parameters }: Statement): Row[] {
  return storage.sql
    .exec(sql, ...parameters.map(toObject))
    .toArray()
    .map(fromObject)
}

/** Durable Objects tell the kind of a failure only in its text. */
function unavailable(error: unknown): DroverError | undefined {
  if (error instanceof Error && /SQLITE_(CONSTRAINT|ERROR|MISMATCH|TOOBIG)/.test(error.message)) return undefined
  return new DroverError(
    {
      code: 'ledger_unavailable',
      message: 'The storage of the Durable Object that holds the ledger could not be written.',
      next: 'Nothing runs until it can be written again: look at the object’s storage and errors in the Cloudflare dashboard.',
    },
    { cause: error },
  )
}

function toObject(value: Value): ObjectValue {
  return value instanceof Uint8Array ? value.slice().buffer : value
}

function fromObject(row: Record<string, ObjectValue>): Row {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, value instanceof ArrayBuffer ? new Uint8Array(value) : value]),
  )
}

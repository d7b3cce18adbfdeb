/** The ledger's database inside a Durable Object: its own SQLite. */

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
      const rows = storage.transactionSync(() =>
        statements.map(({ sql, parameters }) =>
          storage.sql
            .exec(sql, ...parameters.map(toObject))
            .toArray()
            .map(fromObject),
        ),
      )
      // The output gate holds back messages, not our promise: only `sync` makes "resolved" mean "on disk".
      await storage.sync()
      return rows
    },
    async close(): Promise<void> {},
  }
}

function toObject(value: Value): ObjectValue {
  return value instanceof Uint8Array ? value.slice().buffer : value
}

function fromObject(row: Record<string, ObjectValue>): Row {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, value instanceof ArrayBuffer ? new Uint8Array(value) : value]),
  )
}

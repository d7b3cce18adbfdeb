/** The one thing the ledger needs of a database: a list of statements that happen together or not at all. */

export type Value = string | number | null | Uint8Array<ArrayBuffer>
export type Row = Readonly<Record<string, Value>>

/** `?` placeholders, at most 100 of them: a Durable Object refuses more. No literal in `sql` contains a question mark. */
export type Statement = { readonly sql: string; readonly parameters: readonly Value[] }

export interface Db {
  /**
   * Runs the statements in order as one transaction and answers with the rows of each. Durable when it resolves.
   * Throws DroverError `ledger_unavailable` when the store cannot be used (locked, full, read-only, gone);
   * anything else it throws is a broken constraint or a bug. After a throw nothing was kept, unless the answer itself was lost.
   */
  batch(statements: readonly Statement[]): Promise<Row[][]>
  /** Resolves when all that this turn of the event loop brings has been asked for. Absent where no batch waits for a disk. */
  turn?(): Promise<void>
  close(): Promise<void>
}

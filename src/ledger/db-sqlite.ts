/** The ledger's database as one SQLite file, held by one process: `node:sqlite`, in Node and in Deno. */

import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { setImmediate } from 'node:timers'
import { DroverError } from '../core/errors.ts'
import type { Db, Row, Statement } from './db.ts'

const MAX_PREPARED = 200

/** https://sqlite.org/rescode.html, primary codes: the store cannot be used, whatever the statement was. */
const UNUSABLE: Readonly<Record<number, string>> = {
  3: 'access was refused',
  5: 'another process holds it',
  6: 'another process holds it',
  8: 'it is read-only',
  10: 'the disk reported an error',
  11: 'the file is damaged',
  13: 'the disk is full',
  14: 'the file cannot be opened',
  26: 'the file is not a drover ledger',
}

/**
 * Opens the file (mode 0600) and keeps an exclusive lock on it until `close`: whoever has it open owns every run in it.
 * Throws DroverError `ledger_unavailable` at once when another process has it.
 */
export function openSqlite(path: string): Db {
  return open(path, (error) => unavailable(error, path, MEND))
}

type InWords = (error: unknown) => DroverError | undefined

function open(path: string, inWords: InWords, look: (database: DatabaseSync) => void = () => {}): Db {
  const inMemory = path === ':memory:'
  let database: DatabaseSync | undefined
  try {
    if (!inMemory) makeFile(path)
    database = new DatabaseSync(path)
    // Exclusive before WAL: then no shared-memory file exists, and the lock outlives each transaction.
    database.exec(
      'pragma locking_mode = exclusive; pragma journal_mode = wal; pragma synchronous = full; pragma trusted_schema = off',
    )
    database.exec('begin exclusive; commit')
    if (!inMemory) writeFileSync(holderOf(path), `${process.pid}\n`, { mode: 0o600 })
    look(database)
    return overDatabase(database, path, inWords)
  } catch (error) {
    database?.close()
    throw inWords(error) ?? error
  }
}

/**
 * A copy to read while another process holds the file; `close` removes it. The copy is taken again until file and journal
 * stood still meanwhile, so that it is one state and not two halves.
 */
export function openSnapshot(path: string): Db {
  if (!existsSync(path))
    throw new DroverError({
      code: 'not_found',
      message: `There is no ledger at ${path}.`,
      next: 'It is made when drover first runs something.',
    })
  const folder = mkdtempSync(join(tmpdir(), 'drover-snapshot-'))
  const copy = join(folder, 'ledger.db')
  // Of the copy nobody has heard.
  const inWords: InWords = (error) => unavailable(error, path, NAME_THE_LEDGER)
  try {
    copyWhole(path, copy)
    const db = open(copy, inWords, refuseStranger(path))
    return {
      batch: (statements) => db.batch(statements),
      async close() {
        await db.close()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw inWords(error) ?? error
  }
}

const SNAPSHOT_ATTEMPTS = 50

/** With what is not in it yet, and not in the middle of a write. */
function copyWhole(path: string, copy: string): void {
  const parts = ['', '-wal']
  const state = () =>
    JSON.stringify(
      parts.map((part) => (existsSync(path + part) ? [statSync(path + part).mtimeMs, statSync(path + part).size] : [])),
    )
  for (let attempt = 0; attempt < SNAPSHOT_ATTEMPTS; attempt++) {
    const before = state()
    for (const part of parts) {
      rmSync(copy + part, { force: true })
      if (existsSync(path + part)) copyFileSync(path + part, copy + part)
    }
    if (state() === before) return
  }
  throw new DroverError({
    code: 'ledger_unavailable',
    message: `The ledger ${path} is written to without a pause.`,
    next: 'Try again in a moment.',
  })
}

/** An empty file, or another program's database, would be made a ledger, found to be in order, and be believed. */
const refuseStranger = (path: string) => (database: DatabaseSync) => {
  if (database.prepare("select 1 from sqlite_master where type = 'table' and name = 'migration'").get()) return
  throw new DroverError({
    code: 'ledger_unavailable',
    message: `${path} is not a drover ledger: it holds none of its tables.`,
    next: NAME_THE_LEDGER,
  })
}

const MEND = 'Nothing runs until it can be written again: check the disk, the path and its rights, then start drover again.'
const NAME_THE_LEDGER = 'Name the file that drover writes (ledger.path in drover.yaml) with --ledger, as a user who may read it.'

/** A batch that waits for the next commit, and whoever waits for it. */
type Waiting = {
  readonly statements: readonly Statement[]
  resolve(rows: Row[][]): void
  reject(error: unknown): void
}

/** Batches that one commit carries, at most. */
const MAX_TOGETHER = 256

/**
 * What is asked for while a commit waits for the disk goes into the next one together: each batch within a savepoint of its own,
 * all of them with one wait for the disk. None is answered before that.
 */
function overDatabase(database: DatabaseSync, path: string, inWords: InWords): Db {
  const prepared = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    const known = prepared.get(sql)
    if (known !== undefined) return known
    const made = database.prepare(sql)
    if (prepared.size >= MAX_PREPARED) prepared.clear()
    prepared.set(sql, made)
    return made
  }
  const perform = (statements: readonly Statement[]): Row[][] =>
    statements.map(({ sql, parameters }) => prepare(sql).all(...parameters) as Row[])

  const commit = (batches: readonly Waiting[]): void => {
    const done: (readonly [Waiting, Row[][]])[] = []
    const failed: (readonly [Waiting, unknown])[] = []
    try {
      prepare('begin immediate').run()
      for (const batch of batches) {
        if (batches.length > 1) prepare('savepoint batch').run()
        try {
          done.push([batch, perform(batch.statements)])
        } catch (error) {
          // Alone, or the transaction is gone (disk full): with it goes all that it held.
          if (batches.length === 1 || !database.isTransaction) throw error
          failed.push([batch, error])
          prepare('rollback to batch').run()
        }
        if (batches.length > 1) prepare('release batch').run()
      }
      prepare('commit').run()
    } catch (error) {
      rollBack(database)
      for (const { reject } of batches) reject(inWords(error) ?? error)
      return
    }
    for (const [{ resolve }, rows] of done) resolve(rows)
    for (const [{ reject }, error] of failed) reject(inWords(error) ?? error)
  }

  let waiting: Waiting[] = []
  const commitWaiting = (): void => {
    const batches = waiting
    waiting = []
    for (let from = 0; from < batches.length; from += MAX_TOGETHER) commit(batches.slice(from, from + MAX_TOGETHER))
  }
  return {
    batch(statements: readonly Statement[]): Promise<Row[][]> {
      return new Promise((resolve, reject) => {
        // Whatever else this turn of the event loop brings is there by then.
        if (waiting.length === 0) setImmediate(commitWaiting)
        waiting.push({ statements, resolve, reject })
      })
    },
    turn: () => new Promise((resolve) => setImmediate(resolve)),
    async close(): Promise<void> {
      if (!database.isOpen) return
      commitWaiting()
      database.close()
      if (path !== ':memory:') rmSync(holderOf(path), { force: true })
    },
  }
}

/** SQLite has ended the transaction itself after some errors (disk full); then there is nothing to roll back. */
function rollBack(database: DatabaseSync): void {
  try {
    database.exec('rollback')
  } catch {}
}

/** Made here and not by SQLite, so that it never exists with wider rights; its journal inherits them. */
function makeFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
}

/** Says who holds the lock, to whoever is refused; it is not the lock. */
function holderOf(path: string): string {
  return `${path}.holder`
}

function unavailable(error: unknown, path: string, mend: string): DroverError | undefined {
  if (!(error instanceof Error) || error instanceof DroverError) return undefined
  const { errcode, code } = error as Error & { errcode?: number; code?: string }
  const primary = errcode === undefined ? undefined : errcode & 0xff
  const reason = primary === undefined ? fileReason(code) : UNUSABLE[primary]
  if (reason === undefined) return undefined
  const locked = primary === 5 || primary === 6
  return new DroverError(
    {
      code: 'ledger_unavailable',
      message: `The ledger ${path} cannot be used: ${reason}${locked ? ` (${holderName(path)})` : ''}.`,
      next: locked ? 'Stop the other drover, or give this one a ledger file of its own: two must not own the same runs.' : mend,
    },
    { cause: error },
  )
}

function fileReason(code: string | undefined): string | undefined {
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return 'access was refused'
    case 'EROFS':
      return 'it is read-only'
    case 'ENOSPC':
      return 'the disk is full'
    case 'ENOENT':
    case 'ENOTDIR':
    case 'EISDIR':
    case 'EEXIST':
      return 'the path does not lead to a file'
    default:
      return undefined
  }
}

function holderName(path: string): string {
  try {
    const pid = readFileSync(holderOf(path), 'utf8').trim()
    return /^\d+$/.test(pid) ? `process ${pid}` : 'its process is not known'
  } catch {
    return 'its process is not known'
  }
}

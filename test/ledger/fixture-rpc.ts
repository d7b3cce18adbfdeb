/** A ledger bench that lives in another runtime, over HTTP: the answering side, which runs anywhere, and the asking side. */

import { DroverError, type Failure } from '../../src/core/errors.ts'
import type { Ledger } from '../../src/core/ports.ts'
import type { Db } from '../../src/ledger/db.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import type { LedgerBench } from '../contract/ledger.ts'

type Call = { readonly method: string; readonly args: readonly unknown[] }
type Answer = { readonly value: unknown } | { readonly failure: Failure } | { readonly bug: string }

/** Answers the calls of `remoteBench`; `reopen` closes the store and `open` is asked for it again. */
export function ledgerServer(open: () => Db): (request: Request) => Promise<Response> {
  let db: Db | undefined
  let ledger: Ledger | undefined
  let clock = Date.now()
  const opened = async (): Promise<{ db: Db; ledger: Ledger }> => {
    db ??= open()
    ledger ??= await createLedger(db, { now: () => clock })
    return { db, ledger }
  }
  const perform = async ({ method, args }: Call): Promise<unknown> => {
    const bench = await opened()
    switch (method) {
      case 'tamper':
        await bench.db.batch([{ sql: String(args[0]), parameters: [] }])
        return undefined
      case 'advance':
        clock += Number(args[0])
        return undefined
      case 'reopen':
        await bench.ledger.close()
        db = undefined
        ledger = undefined
        return undefined
      default:
        return (bench.ledger[method as keyof Ledger] as (...list: readonly unknown[]) => Promise<unknown>)(...args)
    }
  }
  return async (request) => {
    const call = (await request.json()) as Call
    const answer = await perform(call).then(
      (value): Answer => ({ value: value ?? null }),
      (error: unknown): Answer =>
        error instanceof DroverError
          ? { failure: error.toFailure() }
          : { bug: error instanceof Error ? error.message : String(error) },
    )
    return Response.json(answer)
  }
}

export function remoteBench(url: string, close: () => Promise<void> = async () => {}): LedgerBench {
  const call = async (method: string, ...args: readonly unknown[]): Promise<unknown> => {
    const response = await fetch(url, {
      method: 'POST',
      body: JSON.stringify({ method, args }),
      signal: AbortSignal.timeout(30_000),
    })
    const answer = (await response.json()) as Answer
    if ('failure' in answer) throw new DroverError(answer.failure)
    if ('bug' in answer) throw new Error(answer.bug)
    return answer.value
  }
  const methods = ['accept', 'append', 'claim', 'read', 'output', 'list', 'due', 'postpone', 'firstTime', 'verify', 'close']
  const ledger = Object.fromEntries(
    methods.map((method) => [method, (...args: readonly unknown[]) => call(method, ...args)]),
  ) as unknown as Ledger
  return {
    ledger,
    async reopen() {
      await call('reopen')
      return ledger
    },
    async tamper(sql) {
      await call('tamper', sql)
    },
    async advance(ms) {
      await call('advance', ms)
    },
    close,
  }
}

/** A Worker with one ledger and one wake queue for each object, driven over HTTP: `/ledger/<name>`, `/wake/<name>`. */

import type { RunId } from '../../../src/core/model.ts'
import { type ObjectStorage, openObject } from '../../../src/ledger/db-object.ts'
import { type AlarmStorage, type AlarmWake, createAlarmWake } from '../../../src/runtime/wake-alarm.ts'
import { type WakeCall, wakeServer } from '../../runtime/wake-rpc.ts'
import { ledgerServer } from '../fixture-rpc.ts'

type Context = { readonly storage: ObjectStorage & AlarmStorage; abort(reason?: string): void }
type Env = {
  readonly BENCH: { idFromName(name: string): unknown; get(id: unknown): { fetch(request: Request): Promise<Response> } }
}

export class Bench {
  readonly #context: Context
  readonly #ledger: (request: Request) => Promise<Response>
  readonly #wake: ReturnType<typeof wakeServer>
  readonly #alarms: AlarmWake
  #rings = 0

  constructor(context: Context) {
    this.#context = context
    this.#ledger = ledgerServer(() => openObject(context.storage))
    this.#wake = wakeServer()
    this.#alarms = createAlarmWake(context.storage, (run: RunId) => this.#wake.work(run), { log: () => {} })
  }

  async fetch(request: Request): Promise<Response> {
    const [, door] = new URL(request.url).pathname.split('/')
    if (door === 'ledger') return this.#ledger(request)
    if (door === 'kill') this.#context.abort('killed by a test')
    if (door === 'alarms') return Response.json(this.#rings)
    const call = (await request.json()) as WakeCall
    return Response.json(await this.#wake.answer(call, this.#alarms))
  }

  async alarm(): Promise<void> {
    this.#rings++
    await this.#alarms.alarm()
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, , name = ''] = new URL(request.url).pathname.split('/')
    return env.BENCH.get(env.BENCH.idFromName(name)).fetch(request)
  },
}

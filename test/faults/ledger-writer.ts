/** Appends without end to the ledger at `argv[2]`, and prints each event only after its promise settled: food for `kill -9`. */

import { writeSync } from 'node:fs'
import type { Owner, RunId, TargetId } from '../../src/core/model.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { ended, output, request, target } from '../contract/ledger-words.ts'

const [, , path = '', round = ''] = process.argv
const ledger = await createLedger(openSqlite(path))
const say = (...words: readonly (string | number)[]): void => {
  writeSync(1, `${words.join(' ')}\n`)
}

async function oneRun(run: RunId): Promise<void> {
  await ledger.accept(request(run))
  say('event', run, 1)
  const append = async (event: Parameters<typeof ledger.append>[1]): Promise<void> => {
    say('event', run, await ledger.append(run, event))
  }
  const natives = ['1i1', '1i2', '1i3']
  await append({ type: 'resolved', targets: natives.map(target) })
  await Promise.all(
    natives.map(async (native) => {
      const id: TargetId = target(native).id
      if (!(await ledger.claim(run, id, `round-${round}` as Owner))) throw new Error(`${run} ${id} was claimed before`)
      say('claim', run, id)
      for (let index = 0; index < 3; index++) {
        await append(output(native, index, `${crypto.randomUUID()} `.repeat(index * 4000 + 1)))
        say('output', run, id, index)
      }
      await append(ended(native))
    }),
  )
  await append({ type: 'finished', outcome: { status: 'done' } })
  await append({ type: 'delivered' })
}

say('ready')
for (let n = 0; ; n++) await Promise.all([0, 1, 2].map((lane) => oneRun(`r-${round}-${n}-${lane}` as RunId)))

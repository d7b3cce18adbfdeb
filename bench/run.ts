/** The bench: every row a ratio against a baseline of the same run. `node bench/run.ts [--only name] [--quick]` */

import { parseArgs } from 'node:util'
import { acknowledge } from './acknowledge.ts'
import { containerd } from './containerd.ts'
import { docker } from './docker.ts'
import { firstOutput } from './first-output.ts'
import { kubernetes } from './kubernetes.ts'
import { ledger } from './ledger.ts'
import { describeMachine } from './machine.ts'
import { output } from './output.ts'
import { here } from './places.ts'
import { aimsOf, table, write } from './report.ts'
import type { Bench, Row } from './rows.ts'
import { startup } from './startup.ts'
import { swarm } from './swarm.ts'
import { writeTable } from './table.ts'
import { exec, targets } from './targets.ts'

const all: readonly Bench[] = [
  acknowledge,
  exec,
  targets,
  output,
  ledger,
  startup,
  firstOutput,
  docker,
  containerd,
  swarm,
  kubernetes,
]

const { values } = parseArgs({ options: { only: { type: 'string' }, quick: { type: 'boolean', default: false } } })
const wanted = all.filter(({ name }) => values.only === undefined || name === values.only)
if (wanted.length === 0) {
  console.error(`There is no bench ${values.only}. There are: ${all.map(({ name }) => name).join(', ')}.`)
  process.exit(1)
}
const leftOut: Record<string, string> = {}
for (const { name, needs } of wanted) {
  const needed = needs?.()
  if (needed !== undefined) leftOut[name] = needed
}
const sayLeftOut = () => {
  for (const [name, needs] of Object.entries(leftOut)) console.error(`Without the rows of ${name}: ${needs}.`)
}
const seconds = (since: number) => Math.round((performance.now() - since) / 1000)
const machine = describeMachine()
console.error(`${machine.cores} cores, ${machine.cpu}, ${machine.memoryGiB} GiB; load before: ${machine.loadBefore.join(' ')}`)
sayLeftOut()
const began = performance.now()
const rows: Row[] = []
const took: Record<string, number> = {}
for (const bench of wanted.filter(({ name }) => leftOut[name] === undefined)) {
  const start = performance.now()
  try {
    const found = await bench.run({ quick: values.quick, say: (text) => console.error(`… ${text}`) })
    console.log(table(found))
    rows.push(...found)
  } catch (error) {
    // The others are worth having all the same.
    leftOut[bench.name] = 'it went wrong'
    console.error(`${bench.name} went wrong:`, error)
    process.exitCode = 1
  }
  took[bench.name] = seconds(start)
  console.error(`  ${bench.name}: ${took[bench.name]} s`)
}
const { missed, aims } = aimsOf(rows)
console.error(`${rows.length} rows in ${seconds(began)} s; ${missed} of ${aims} aims missed`)
sayLeftOut()
// A part or a quick look is no result to keep.
if (values.only === undefined && !values.quick) {
  write(here('results'), { machine, took, leftOut, rows })
  writeTable()
}

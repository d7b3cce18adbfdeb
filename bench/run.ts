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
import { table, write } from './report.ts'
import type { Bench, Row } from './rows.ts'
import { startup } from './startup.ts'
import { swarm } from './swarm.ts'
import { exec, targets } from './targets.ts'

const benches: readonly Bench[] = [
  acknowledge,
  exec,
  targets,
  output,
  ledger,
  startup,
  firstOutput,
  ...(process.env.DOCKER_HOST ? [docker] : []),
  ...(process.env.CONTAINERD_ADDRESS ? [containerd] : []),
  ...(process.env.DOCKER_HOST && process.env.DOCKER_WORKER_HOST ? [swarm] : []),
  ...(process.env.KUBE_URL ? [kubernetes] : []),
]

const { values } = parseArgs({ options: { only: { type: 'string' }, quick: { type: 'boolean', default: false } } })
const chosen = benches.filter(({ name }) => values.only === undefined || name === values.only)
if (chosen.length === 0) {
  console.error(`There is no bench ${values.only}. There are: ${benches.map(({ name }) => name).join(', ')}.`)
  process.exit(1)
}
const seconds = (since: number) => Math.round((performance.now() - since) / 1000)
const machine = describeMachine()
console.error(`${machine.cores} cores, ${machine.cpu}, ${machine.memoryGiB} GiB; load before: ${machine.loadBefore.join(' ')}`)
const began = performance.now()
const rows: Row[] = []
for (const bench of chosen) {
  const start = performance.now()
  try {
    const found = await bench.run({ quick: values.quick, say: (text) => console.error(`… ${text}`) })
    console.log(table(found))
    rows.push(...found)
  } catch (error) {
    // The others are worth having all the same.
    console.error(`${bench.name} went wrong:`, error)
    process.exitCode = 1
  }
  console.error(`  ${bench.name}: ${seconds(start)} s`)
}
const missed = rows.filter(({ met }) => met === false).length
console.error(
  `${rows.length} rows in ${seconds(began)} s; ${missed} of ${rows.filter(({ met }) => met !== undefined).length} aims missed`,
)
// A part or a quick look is no result to keep.
if (chosen.length === benches.length && !values.quick) write(here('results'), machine, rows)

/** One measurement in a process of its own: drover or the bare protocol, against a peer; prints its figures as one line of JSON. */

import { bareRun } from './bare.ts'
import { usage } from './processes.ts'
import { startWhole } from './whole.ts'

export type SubjectOptions = {
  readonly who: 'drover' | 'bare' | 'wrapped'
  readonly url: string
  readonly count: number
  readonly parallel: number
  readonly command: readonly [string, ...string[]]
  /** How often, one after the other; the times of all are told. */
  readonly times: number
  readonly ledger?: ':memory:'
}

export type Figures = {
  readonly ms: readonly number[]
  readonly cpuMs: number
  readonly peakBytes: number
  /** Peak over what the process held before the first run. */
  readonly grownBytes: number
}

async function main(options: SubjectOptions): Promise<Figures> {
  const { who, count, parallel, command, times } = options
  const url = `${options.url}/n${count}`
  const ms: number[] = []
  const isWrapped = who === 'wrapped'
  const words = [count === 1 ? 'name=bench-1' : 'name=bench-*', '--', ...command]
  const whole = who === 'drover' ? await startWhole(url, parallel, options.ledger) : undefined
  // What is loaded and compiled once is not a cost of a run.
  if (whole) await whole.run(['name=bench-1', '--', 'bench', 'ok'])
  else await bareRun({ url, count: 1, parallel: 1, command: ['bench', 'ok'], isWrapped })
  const before = usage()
  for (let i = 0; i < times; i++) {
    const begin = performance.now()
    if (whole) ms.push((await whole.run(words)).ms)
    else {
      await bareRun({ url, count, parallel, command, isWrapped })
      ms.push(performance.now() - begin)
    }
  }
  const after = usage()
  await whole?.close()
  return {
    ms,
    cpuMs: after.cpuMs - before.cpuMs,
    peakBytes: after.peakBytes,
    grownBytes: after.peakBytes - before.peakBytes,
  }
}

console.log(JSON.stringify(await main(JSON.parse(process.argv[2] ?? '{}') as SubjectOptions)))

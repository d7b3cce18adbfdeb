/** What a measurement is: a figure, the baseline of the same run, and whether the aim between them was met. */

export type Row = {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** Against the baseline that `aim` names; absent where the aim is an absolute figure. */
  readonly ratio?: number
  readonly aim?: string
  readonly met?: boolean
  readonly note?: string
}

export type Bench = {
  readonly name: string
  /** `quick`: fewer rounds and smaller counts, for work in progress. */
  run(options: Options): Promise<readonly Row[]>
}

export type Options = { readonly quick: boolean; say(text: string): void }

export function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? Number.NaN
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** What the rounds of one comparison may take together before no further one is begun: the whole bench stays under ten minutes. */
const roundsMs = 40_000

/** Each subject once a round, in turn, so that what else the machine does falls on all of them. At least one round. */
export async function interleaved<T>(
  rounds: number,
  subjects: Readonly<Record<string, () => Promise<T>>>,
): Promise<Readonly<Record<string, readonly T[]>>> {
  const results: Record<string, T[]> = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]))
  const until = performance.now() + roundsMs
  for (let round = 0; round < rounds && (round === 0 || performance.now() < until); round++)
    for (const [name, measure] of Object.entries(subjects)) results[name]!.push(await measure())
  return results
}

/** `aim`: at least or at most so many times the baseline. */
export function against(
  row: { readonly name: string; readonly value: number; readonly unit: string; readonly note?: string },
  baseline: { readonly name: string; readonly value: number },
  aim?: { readonly atLeast: number } | { readonly atMost: number },
): Row {
  const ratio = row.value / baseline.value
  if (aim === undefined) return { ...row, ratio, aim: `× ${baseline.name}` }
  const met = 'atLeast' in aim ? ratio >= aim.atLeast : ratio <= aim.atMost
  return { ...row, ratio, aim: `${'atLeast' in aim ? `≥ ${aim.atLeast}` : `≤ ${aim.atMost}`} × ${baseline.name}`, met }
}

export function absolute(
  row: { readonly name: string; readonly value: number; readonly unit: string; readonly note?: string },
  aim?: { readonly atLeast: number } | { readonly atMost: number },
): Row {
  if (aim === undefined) return row
  const met = 'atLeast' in aim ? row.value >= aim.atLeast : row.value <= aim.atMost
  return { ...row, aim: `${'atLeast' in aim ? `≥ ${aim.atLeast}` : `≤ ${aim.atMost}`} ${row.unit}`, met }
}

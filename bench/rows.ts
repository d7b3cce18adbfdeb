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
  /** What of its surroundings is missing, and how to get it; undefined when it can be run. */
  readonly needs?: () => string | undefined
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
const roundsMs = 25_000
/** Where the ratios of two rounds and more lie no further apart than this, the next one would not move their median by much. */
const steady = 0.05

/**
 * Each subject once a round, in turn, so that what else the machine does falls on all of them. At least one round, at most `rounds`;
 * with `figure` none after two and more in which that of each subject stands still against the first one's.
 */
export async function interleaved<T>(
  rounds: number,
  subjects: Readonly<Record<string, () => Promise<T>>>,
  figure?: (one: T) => number,
): Promise<Readonly<Record<string, readonly T[]>>> {
  const results: Record<string, T[]> = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]))
  const until = performance.now() + roundsMs
  for (let round = 0; round < rounds; round++) {
    for (const [name, measure] of Object.entries(subjects)) results[name]!.push(await measure())
    if (performance.now() > until || (figure && isSteady(Object.values(results).map((all) => all.map(figure))))) break
  }
  return results
}

/** Whether the ratios to the first of them hardly differ from round to round. */
export function isSteady([first = [], ...others]: readonly (readonly number[])[]): boolean {
  if (first.length < 2) return false
  return others.every((figures) => {
    const ratios = figures.map((value, round) => value / first[round]!)
    return (Math.max(...ratios) - Math.min(...ratios)) / median(ratios) <= steady
  })
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

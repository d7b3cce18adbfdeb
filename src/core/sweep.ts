/** What a drover that was ended in the middle left on its engines, removed by the next one: when it starts, and each minute. */

import { within } from './fan-out.ts'
import type { Backend } from './ports.ts'

/** What one backend's may take. */
const sweepMs = 30_000
const minuteMs = 60_000

type Swept = Pick<Backend, 'name' | 'sweep'>

/** All of them at once; one that cannot be swept keeps no other from it. `tell` gets why, by the backend's name; undefined when it went well. */
export async function sweepAll(
  backends: readonly Swept[],
  tell: (backend: string, error: unknown) => void,
  signal?: AbortSignal,
): Promise<void> {
  const sweep = async (backend: Swept) => {
    if (!backend.sweep) return
    try {
      await within(sweepMs, 'Sweeping', async (late) => backend.sweep?.(signal ? AbortSignal.any([signal, late]) : late))
      tell(backend.name, undefined)
    } catch (error) {
      tell(backend.name, error)
    }
  }
  await Promise.all(backends.map(sweep))
}

/** Begins at once. Why a backend cannot be swept is told once, until it can again. */
export function startSweeping(
  backends: readonly Swept[],
  tell: (backend: string, error: unknown) => void,
  everyMs = minuteMs,
): { close(): Promise<void> } {
  const closing = new AbortController()
  const failing = new Set<string>()
  let timer: ReturnType<typeof setTimeout> | undefined
  let current: Promise<void> = Promise.resolve()
  const note = (backend: string, error: unknown) => {
    if (error === undefined) failing.delete(backend)
    else if (!failing.has(backend) && !closing.signal.aborted) {
      failing.add(backend)
      tell(backend, error)
    }
  }
  const next = () => {
    current = sweepAll(backends, note, closing.signal).then(() => {
      if (!closing.signal.aborted) timer = setTimeout(next, everyMs)
    })
  }
  if (backends.some(({ sweep }) => sweep)) next()
  return {
    async close() {
      closing.abort()
      clearTimeout(timer)
      await current
    },
  }
}

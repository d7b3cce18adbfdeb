/** The streams of one process as they arrive, and its exit code behind them. */

import type { ExecEvent, Stream } from '../../core/model.ts'
import { givenUp } from './errors.ts'

export type Arriving = { readonly stream: Stream; readonly data: AsyncIterable<Uint8Array> }
/** `isWhole`: the streams have ended, too. */
export type Rest = { readonly code: number; readonly isWhole: boolean }
type Piece = { readonly stream: Stream; readonly data: Uint8Array; taken(): void }

/** More than pipes and shim can hold of what the command itself wrote before it ended. */
const REST_BYTES = 1024 * 1024

/**
 * One piece of each stream at most is held; a stream goes on when its piece was taken. Returns the exit code when all streams
 * have ended. A background child may hold them open longer: once the code is known, no more than `restMs` is spent on waiting
 * for more, and no more than 1 MiB is taken. Throws what `exit` or a stream throws, after what came before it.
 */
export async function* together(
  sources: readonly Arriving[],
  until: { readonly exit: Promise<number>; readonly signal: AbortSignal; readonly restMs: number },
): AsyncGenerator<ExecEvent, Rest> {
  const pieces: Piece[] = []
  let open = sources.length
  let code: number | undefined
  let failed: { readonly error: unknown } | undefined
  let isOver = false
  let restBytes = REST_BYTES
  let { restMs } = until
  let wake = (): void => {}

  const fail = (error: unknown) => {
    failed ??= { error }
    wake()
  }
  async function pump({ stream, data }: Arriving): Promise<void> {
    for await (const piece of data) {
      if (isOver) return
      await new Promise<void>((resolve) => {
        pieces.push({ stream, data: piece, taken: resolve })
        wake()
      })
    }
    open -= 1
    wake()
  }
  const onAbort = () => wake()
  until.signal.addEventListener('abort', onAbort)
  until.exit.then((known) => {
    code = known
    wake()
  }, fail)
  for (const source of sources) pump(source).catch(fail)

  try {
    for (;;) {
      if (until.signal.aborted) throw givenUp('maybe', until.signal.reason)
      const piece = pieces.shift()
      if (piece) {
        if (code !== undefined) restBytes -= piece.data.byteLength
        yield { type: 'output', stream: piece.stream, data: piece.data }
        piece.taken()
      } else if (failed) throw failed.error
      else if (code !== undefined && (open === 0 || restMs <= 0 || restBytes < 0)) return { code, isWhole: open === 0 }
      else restMs -= await woken(code === undefined ? undefined : restMs)
    }
  } finally {
    isOver = true
    until.signal.removeEventListener('abort', onAbort)
    for (const { taken } of pieces) taken()
  }

  /** Waits until something happened, or so long; returns how long it was, where that counts. */
  async function woken(ms: number | undefined): Promise<number> {
    const since = Date.now()
    let timer: ReturnType<typeof setTimeout> | undefined
    await new Promise<void>((resolve) => {
      wake = resolve
      if (ms !== undefined) timer = setTimeout(resolve, ms)
    })
    clearTimeout(timer)
    return ms === undefined ? 0 : Math.max(1, Date.now() - since)
  }
}

/** What an agent's list says when it lets nothing pass. */

import { Refusal } from '../../src/agent/fence.ts'

/** The words of the refusal; any other failure is thrown. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => 'it passed',
    (thrown: unknown) => thrown,
  )
  if (error instanceof Refusal) return error.message
  throw error instanceof Error ? error : new Error(String(error))
}

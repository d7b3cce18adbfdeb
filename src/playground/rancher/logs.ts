/** The `logs` websocket, as far as it was recorded: what a container has written, then close or silence (rancher-1.md §4). */

import type { PeerContainer } from './containers.ts'
import type { Generation } from './host-agent.ts'
import type { LogsClaim } from './tokens.ts'

/** Messages are plain text: `01 ` stdout or `02 ` stderr before each line. */
export async function playLogs(
  container: PeerContainer | undefined,
  claim: LogsClaim,
  generation: Generation,
  deliver: (text: Uint8Array) => Promise<void>,
  close: () => void,
): Promise<void> {
  if (!container) return close()
  const all = container.spec.logs ?? []
  // A ignores `lines` and `timestamps` and loses the last line [REC 7].
  const old = generation === 'A'
  const kept = old ? all.slice(-100, -1) : claim.Lines > 0 ? all.slice(-claim.Lines) : all
  for (const [index, { stream, line }] of kept.entries()) {
    const at = new Date(container.createdMs + index * 1000).toISOString().replace('Z', '664797Z')
    const stamp = old || claim.Timestamps ? `${at} ` : ''
    await deliver(Buffer.from(`${stream === 'stdout' ? '01' : '02'} ${stamp}${line}\n`))
  }
  if (!claim.Follow) close()
}

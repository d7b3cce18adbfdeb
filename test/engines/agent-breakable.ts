/** A link of an agent that breaks when a test says so. */

import type { Transport } from '../../src/backends/transport.ts'
import { type Link, until } from '../agent/link.ts'

/** Cuts the link itself after so many bytes of answers, and waits for its return. */
export function breakable(link: Link): { readonly way: Transport; breakAfter(bytes: number): void } {
  let left = 0
  return {
    breakAfter: (bytes) => {
      left = bytes
    },
    way: {
      ...link.transport,
      async stream(request) {
        await until(() => link.hub.state('lab').connected)
        const response = await link.transport.stream(request)
        async function* counted() {
          for await (const data of response.body) {
            yield data
            if (left === 0) continue
            left = Math.max(0, left - data.byteLength)
            if (left === 0) link.cut()
          }
        }
        return { ...response, body: counted() }
      },
    },
  }
}

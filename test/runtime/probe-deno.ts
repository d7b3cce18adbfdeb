/** The probe as a program for Deno: one step per line of stdin, one answer per line of stdout. */

import { createInterface } from 'node:readline'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { probe } from './probe.ts'

const transport = nodeTransport()
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await probe(transport, JSON.parse(line)))}\n`)
}

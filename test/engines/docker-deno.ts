/** The probe as a program for Deno: one step per line of stdin, one answer per line of stdout. */

import { createInterface } from 'node:readline'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { probe } from './docker-probe.ts'

const outside = { transport: nodeTransport, machine: nodeMachine() }
for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await probe(JSON.parse(line), outside))}\n`)

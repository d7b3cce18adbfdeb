/** Which kinds of backend a configuration has loaded on Node: those that it uses here, and no others. */

import { describe, expect, it } from 'vitest'
import { throughAgent } from '../src/agent/through.ts'
import { parseConfig } from '../src/config.ts'
import { kindsOf } from '../src/kinds.ts'
import { createBackends } from '../src/rooms.ts'
import { nodeMachine } from '../src/runtime/machine-node.ts'
import { nodeTransport } from '../src/runtime/transport-node.ts'

const agents = `agents: { lab: { key: 'ed25519:${'A'.repeat(43)}' } }\n`
const nobody = () =>
  throughAgent('lab', async () => {
    throw new Error('it is not connected')
  })

async function loaded(...backends: readonly string[]) {
  const config = parseConfig(`${agents}backends: { ${backends.join(', ')} }`, 'drover.yaml', {})
  const machine = nodeMachine()
  const outside = { transport: nodeTransport, machine, ...(await kindsOf(config, machine, () => undefined)) }
  const made = createBackends(config, { ...outside, agents: nobody })
  return { kinds: Object.keys(outside.kinds).sort(), made: made.map(({ name, kind }) => `${name} ${kind}`) }
}

describe('the kinds of a configuration', () => {
  it('what an agent does by orders needs no backend here: neither a swarm’s nor containerd’s, with its gRPC, is loaded', async () => {
    expect(await loaded('a: { kind: containerd, through: lab }', 'b: { kind: swarm, through: lab }')).toEqual({
      kinds: [],
      made: ['a containerd', 'b swarm'],
    })
  })

  it('what is reached from here is loaded, also where another of its kind has an agent, and so is what only its calls go through one', async () => {
    const { kinds, made } = await loaded(
      ...['a: { kind: containerd, through: lab }', 'b: { kind: containerd, namespace: default }'],
      ...['c: { kind: swarm, host: "unix:///run/docker.sock" }', 'd: { kind: docker, through: lab }'],
    )
    expect(kinds).toEqual(['containerd', 'docker', 'swarm'])
    expect(made).toEqual(['a containerd', 'b containerd', 'c swarm', 'd docker'])
  })
})

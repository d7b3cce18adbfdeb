/** What a Deno program does on a real containerd, as one JSON value. */

import process from 'node:process'
import { containerd } from '../../src/backends/containerd/backend.ts'
import { DroverError } from '../../src/core/errors.ts'
import type { Command, Target } from '../../src/core/model.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { commandsInside } from './containerd-engine.ts'

const [address = '', namespace = '', fifoDirectory = '', image = ''] = process.argv.slice(2)
const newContainers = { networks: ['none'], memory: '64m', cpus: 1, processes: 50, snapshotter: 'overlayfs' }
const backend = containerd(
  { name: 'ctd', address, namespace, parallel: 8, fifoDirectory, newContainers },
  { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups },
)
const soon = () => AbortSignal.timeout(30_000)
const target = (await backend.list({ name: 'web-1' }, soon())).find(({ name }) => name === 'web-1')
if (!target) throw new Error('there is no web-1')

async function run(
  command: Command,
  on: Target = target!,
): Promise<{ out: string; err: string; code: number | undefined; bytes: number }> {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() }
  const text = { stdout: '', stderr: '' }
  let bytes = 0
  let code: number | undefined
  for await (const event of backend.exec(on, command, crypto.randomUUID().replaceAll('-', ''), soon())) {
    if (event.type === 'output') {
      bytes += event.data.byteLength
      if (bytes < 100_000) text[event.stream] += decoders[event.stream].decode(event.data, { stream: true })
    }
    if (event.type === 'exit') code = event.code
  }
  return { out: text.stdout, err: text.stderr, code, bytes }
}
const three = ({ out, err, code }: Awaited<ReturnType<typeof run>>) => [out, err, code]

const plain = three(await run({ argv: ['sh', '-c', 'echo out; echo err >&2; exit 3'] }))
const stdin = three(await run({ argv: ['cat'], stdin: 'a\nb' }))
const { bytes, code } = await run({ argv: ['head', '-c', '20000000', '/dev/zero'] })
const terminal = three(await run({ argv: ['sh', '-c', '[ -t 1 ] && echo terminal'], tty: true }))
const missing = await run({ argv: ['nosuch'] }).then(
  () => 'ran',
  (error: unknown) => (error instanceof DroverError ? error.code : String(error)),
)
const made = three(await run({ argv: ['sh', '-c', 'cat; echo err >&2; exit 4'], stdin: 'fed' }, backend.newContainer!({ image })))
const many = await Promise.all(Array.from({ length: 20 }, async (_, i) => (await run({ argv: ['echo', `${i}`] })).out))

const connection = new AbortController()
const events = backend.exec(
  target,
  { argv: ['sh', '-c', 'sleep 765432 & sleep 765432'] },
  crypto.randomUUID().replaceAll('-', ''),
  connection.signal,
)
const iterator = events[Symbol.asyncIterator]()
const first = await iterator.next()
if (first.done || first.value.type !== 'started') throw new Error('it did not start')
const { result } = await backend.kill(target, first.value.handle, soon())
connection.abort()
await iterator.next().catch(() => undefined)
const killed = [result, commandsInside('web-1', 'sleep 765432').length]

console.log(JSON.stringify({ plain, stdin, large: [bytes, code], terminal, missing, made, many, killed }))

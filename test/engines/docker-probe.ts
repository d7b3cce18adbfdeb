/** Runs one command on one container as it is told by JSON and answers in JSON: the same can so be done inside Deno and workerd. */

import { docker } from '../../src/backends/docker/backend.ts'
import type { Machine } from '../../src/backends/machine.ts'
import type { Transports } from '../../src/backends/transport.ts'
import type { Command, ExecHandle } from '../../src/core/model.ts'

export type Step = {
  readonly host: string
  readonly name: string
  readonly command: Command
  /** After its first output. */
  readonly killAfterMs?: number
  readonly image?: string
}
export type Answer = Readonly<Record<string, unknown>>

export async function probe(
  step: Step,
  outside: { readonly transport: Transports; readonly machine?: Machine },
): Promise<Answer> {
  const signal = AbortSignal.timeout(30_000)
  const decoder = new TextDecoder()
  const said = { stdout: '', stderr: '' }
  try {
    const backend = docker(
      {
        name: 'engine',
        host: step.host,
        plaintext: true,
        newContainers: { networks: ['none'], memory: '64m', cpus: 1, processes: 50 },
      },
      outside,
    )
    const made = step.image === undefined ? undefined : backend.newContainer?.({ image: step.image })
    const target = made ?? (await backend.list({ name: step.name }, signal))[0]
    if (!target) return { error: 'no such container' }
    let killed: unknown
    let handle: ExecHandle | undefined
    for await (const event of backend.exec(target, step.command, crypto.randomUUID().replaceAll('-', ''), signal)) {
      if (event.type === 'started') handle = event.handle
      if (event.type === 'output' && handle && step.killAfterMs !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, step.killAfterMs))
        killed ??= await backend.kill(target, handle, signal)
      }
      if (event.type === 'output') said[event.stream] += decoder.decode(event.data)
      if (event.type === 'exit') return { ...said, code: event.code, killed, stdin: backend.traits.stdin }
    }
    return { error: 'no ending' }
  } catch (error) {
    const { name, code, message, ran } = error as Record<string, unknown>
    return { ...said, error: name, code, message, ran }
  }
}

/** A list, a command and a check through Rancher 2, told as JSON: the same steps inside Node, Deno and workerd. */

import { type Rancher2Options, rancher2 } from '../../src/backends/rancher2/backend.ts'
import type { Ways } from '../../src/backends/rancher2/reach.ts'
import { BackendError, DroverError } from '../../src/core/errors.ts'

export type Told = {
  readonly native?: string
  readonly out?: string
  readonly end?: unknown
  readonly failed?: unknown
  readonly refused?: string
}

export async function story(options: Rancher2Options, ways: Ways): Promise<Told> {
  try {
    const backend = rancher2(options, ways)
    const [target] = await backend.list({ name: 'web-1' }, AbortSignal.timeout(10_000))
    if (!target) return { refused: 'nothing was listed' }
    const decoder = new TextDecoder()
    let out = ''
    let end: unknown
    const argv = ['/bin/sh', '-c', 'cat; echo err >&2; exit 3'] as const
    for await (const event of backend.exec(target, { argv, stdin: 'é in\n' }, 'ab'.repeat(16), AbortSignal.timeout(10_000))) {
      if (event.type === 'output') out += `${event.stream}: ${decoder.decode(event.data)}`
      else if (event.type !== 'started') end = event
    }
    const failed = (await backend.check(AbortSignal.timeout(10_000))).filter(({ ok }) => ok === false)
    return { native: target.native, out, end, failed }
  } catch (error) {
    if (error instanceof BackendError || error instanceof DroverError) return { refused: `${error.code}: ${error.message}` }
    throw error
  }
}

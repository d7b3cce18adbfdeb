/** What `drover check` says of a containerd. */

import { counted } from '../../core/counted.ts'
import { DroverError } from '../../core/errors.ts'
import type { Target } from '../../core/model.ts'
import type { CheckLine } from '../../core/ports.ts'
import { refusal } from './errors.ts'
import type { Connection } from './exec.ts'
import { noSnapshotter } from './image.ts'

/** With more execs at once in a container its shim stalls; 1.7 has no such wall. */
const MOST_ON_1_6 = 16

export async function check(
  connection: Connection,
  options: {
    readonly namespace: string
    readonly parallel: number
    /** Of new containers, where they may be made. */
    readonly snapshotter: string | undefined
    found(signal: AbortSignal): Promise<readonly Target[]>
  },
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const { engine, address, makePipes, fifoDirectory } = connection
  const { namespace, parallel, snapshotter, found } = options
  const lines: CheckLine[] = []
  try {
    const { version } = await engine.version(signal)
    lines.push({ ok: true, what: `containerd answers at ${address}`, detail: `version ${version}` })
    lines.push({
      ok: 'warn',
      what: 'the way to this socket is the way to root on its machine',
      next: 'Let nobody but drover’s own user have it, and keep rules for this backend narrow.',
    })
    if (/^v?1\.[0-6]\./.test(version) && parallel > MOST_ON_1_6)
      lines.push({
        ok: 'warn',
        what: `parallel is ${parallel}, and this containerd stalls with more than ${MOST_ON_1_6} commands at once in a container`,
        next: `Set parallel to ${MOST_ON_1_6} or less.`,
      })
    const known = (await engine.namespaces(signal)).namespaces.map(({ name }) => name)
    const running = (await found(signal)).length
    lines.push(
      known.includes(namespace)
        ? { ok: running > 0 ? true : 'warn', what: `${counted(running, 'running container')} in the namespace ${namespace}` }
        : {
            ok: false,
            what: `there is no namespace ${namespace}`,
            detail: `there are: ${known.join(', ') || 'none'}`,
            next: 'Set `namespace` of this backend to one of them.',
          },
    )
    if (snapshotter !== undefined)
      lines.push(
        (await engine.platforms(snapshotter, signal))
          ? { ok: true, what: `new containers can be made with the snapshotter ${snapshotter}` }
          : refusedLine(noSnapshotter(snapshotter)),
      )
    const pipes = await makePipes(['stdout'], fifoDirectory, signal)
    pipes.close()
    lines.push({ ok: true, what: 'named pipes can be made', ...(fifoDirectory ? { detail: `in ${fifoDirectory}` } : {}) })
  } catch (error) {
    const shown = refusal(error, { address, about: 'its namespaces' })
    if (!(shown instanceof DroverError)) throw error
    lines.push(refusedLine(shown))
  }
  return lines
}

function refusedLine({ message, next }: DroverError): CheckLine {
  return { ok: false, what: message, ...(next ? { next } : {}) }
}

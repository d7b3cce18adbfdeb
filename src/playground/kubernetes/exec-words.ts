/** What an exec is asked for in its URL, and the words in which it says how it ended (kubernetes.md §1–§6). */

import type { PeerEnd } from '../rancher/engine.ts'

export const V5 = 'v5.channel.k8s.io'
export const V4 = 'v4.channel.k8s.io'
/** The first protocol, without a status: a success says nothing at all. */
export const V1 = 'channel.k8s.io'

export type Ask = {
  readonly container: string | undefined
  readonly argv: readonly string[]
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  readonly tty: boolean
}

export function noStream({ stdin, stdout, stderr }: Ask): boolean {
  return !stdin && !stdout && !stderr
}

/** As Go reads a query: a parameter with a raw `;` is dropped whole; of a boolean any value but 0 and false is true [R]. */
export function askOf(search: string): Ask {
  const kept = search
    .replace(/^\?/, '')
    .split('&')
    .filter((one) => !one.includes(';'))
  const query = new URLSearchParams(kept.join('&'))
  const is = (name: string) => query.has(name) && !/^(0|false)$/i.test(query.get(name) ?? '')
  return {
    container: query.get('container') || undefined,
    argv: query.getAll('command'),
    stdin: is('stdin'),
    stdout: is('stdout'),
    stderr: is('stderr'),
    tty: is('tty'),
  }
}

export function statusOf(end: PeerEnd, protocol: string, argv: readonly string[]): unknown {
  if ('startError' in end)
    return internalError(
      `error executing command in container: failed to exec in container: failed to start exec "0123abcd": ${end.startError.trim()}`,
    )
  if (end.code === 0) return { metadata: {}, status: 'Success' }
  // v4 quotes the command, whatever it holds.
  const how =
    protocol === V5
      ? `command terminated with exit code ${end.code}`
      : `error executing command [${argv.join(' ')}], exit code ${end.code}`
  return {
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: ${how}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(end.code) }] },
  }
}

export function internalError(message: string): unknown {
  return {
    metadata: {},
    status: 'Failure',
    message: `Internal error occurred: ${message}`,
    reason: 'InternalError',
    details: { causes: [{ message }] },
    code: 500,
  }
}

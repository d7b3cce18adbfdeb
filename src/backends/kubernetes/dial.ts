/** The websocket of one exec by the Kubernetes API. */

import type { Actor, Target } from '../../core/model.ts'
import type { Fields } from '../transport.ts'
import { type Api, protocol } from './api.ts'
import type { Connection } from './exec.ts'

/** `headersFor`: headers by which the cluster's own audit names the person. */
export function dialing(api: Pick<Api, 'socket'>, headersFor: (by: Actor | undefined) => Fields): Connection['dial'] {
  return (target, ask, { by, signal }) => {
    const { path, container } = execPath(target)
    return api.socket(path, {
      query: {
        container,
        command: ask.argv,
        stdout: 'true',
        // With a terminal the server sends everything on stdout.
        ...(ask.tty ? { tty: 'true' } : { stderr: 'true' }),
        ...(ask.stdin ? { stdin: 'true' } : {}),
      },
      protocols: ask.protocols,
      headers: headersFor(by),
      signal,
    })
  }
}

const NATIVE = /^([a-z0-9][-a-z0-9.]*)\/([a-z0-9][-a-z0-9.]*)\/([a-z0-9][-a-z0-9.]*)$/

export function execPath({ native }: Target): { readonly path: string; readonly pod: string; readonly container: string } {
  const [, namespace, name, container] = NATIVE.exec(native) ?? []
  if (!namespace || !name || !container) throw protocol('This is not the id of a container in Kubernetes.')
  const pod = `/api/v1/namespaces/${namespace}/pods/${name}`
  return { path: `${pod}/exec`, pod, container }
}

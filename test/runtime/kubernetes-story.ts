/** Kubernetes as drover.yaml names it, used and told as JSON: the same steps inside Node, Deno and workerd. */

import { kubernetes, type Ways } from '../../src/backends/kubernetes/connect.ts'
import type { KubernetesSettings } from '../../src/backends/kubernetes/settings.ts'
import { BackendError, DroverError } from '../../src/core/errors.ts'
import type { Argv } from '../../src/core/model.ts'
import { Secret } from '../../src/core/secret.ts'

export type Asked = {
  /** `token` in clear: it comes as JSON. */
  readonly settings: Omit<KubernetesSettings, 'token' | 'ca' | 'impersonate'> & { readonly token?: string }
  readonly name: string
  readonly argv: Argv
  readonly stdin?: string
  /** Ends what runs when it has written something. */
  readonly kill?: boolean
}
export type Told = {
  readonly native?: string
  readonly out?: string
  readonly err?: string
  readonly end?: unknown
  readonly killed?: unknown
  readonly refused?: unknown
}

const by = { kind: 'webhook', name: 'deploy' } as const

export async function story({ settings, name, argv, stdin, kill }: Asked, ways: Ways): Promise<Told> {
  const text = { stdout: '', stderr: '' }
  let told: Told = {}
  try {
    const { token, ...rest } = settings
    const secret = token === undefined ? {} : { token: new Secret(token) }
    const impersonate = rest.impersonateGroup === undefined ? 'none' : 'actor'
    const backend = kubernetes('kube', { ...rest, ...secret, impersonate }, ways)
    const signal = AbortSignal.timeout(20_000)
    const [target] = await backend.list({ name }, signal)
    if (!target) return { refused: 'nothing was listed' }
    told = { native: target.native }
    const decoder = new TextDecoder()
    const exec = 'ab'.repeat(16)
    for await (const event of backend.exec(target, { argv, ...(stdin === undefined ? {} : { stdin }) }, exec, signal, by)) {
      if (event.type === 'output') {
        text[event.stream] += decoder.decode(event.data)
        if (kill && told.killed === undefined)
          told = { ...told, killed: await backend.kill(target, { target: target.id, exec }, signal) }
      } else if (event.type !== 'started') told = { ...told, end: event }
    }
    return { ...told, out: text.stdout, err: text.stderr }
  } catch (error) {
    if (error instanceof BackendError) return { ...told, refused: { code: error.code, ran: error.ran, message: error.message } }
    if (error instanceof DroverError) return { ...told, refused: { code: error.code, message: error.message } }
    throw error
  }
}

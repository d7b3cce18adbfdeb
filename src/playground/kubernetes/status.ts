/** How an API server says no: meta/v1 Status (kubernetes.md §5). */

export type Answer = { readonly status: number; readonly body: unknown; readonly headers?: Readonly<Record<string, string>> }

type More = { readonly details?: unknown }

export function statusAnswer(code: number, reason: string, message: string, more: More = {}): Answer {
  return {
    status: code,
    body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, ...more, code },
  }
}

/** Not from the API server but from the kubelet or the runtime behind it. */
export function textAnswer(status: number, text: string): Answer {
  return { status, body: text, headers: { 'Content-Type': 'text/plain; charset=utf-8' } }
}

export const unauthorized = (): Answer => statusAnswer(401, 'Unauthorized', 'Unauthorized')

export const badRequest = (message: string): Answer => statusAnswer(400, 'BadRequest', message)

export function notFound(kind: string, name: string, group = ''): Answer {
  const resource = group === '' ? kind : `${kind}.${group}`
  return statusAnswer(404, 'NotFound', `${resource} "${name}" not found`, {
    details: { name, ...(group === '' ? {} : { group }), kind },
  })
}

/** `resource` with its subresource, `pods/exec`; an empty name is a list. */
export function forbidden(
  user: string,
  asked: {
    readonly verb: string
    readonly group: string
    readonly resource: string
    readonly name: string
    readonly namespace?: string | undefined
  },
): Answer {
  const { verb, group, resource, name, namespace } = asked
  const [kind = ''] = resource.split('/')
  const where = namespace === undefined ? ' at the cluster scope' : ` in the namespace "${namespace}"`
  const what =
    name === '' ? `${kind}${group === '' ? '' : `.${group}`} is` : `${kind}${group === '' ? '' : `.${group}`} "${name}" is`
  return statusAnswer(
    403,
    'Forbidden',
    `${what} forbidden: User "${user}" cannot ${verb} resource "${resource}" in API group "${group}"${where}`,
    {
      details: { ...(name === '' ? {} : { name }), ...(group === '' ? {} : { group }), kind },
    },
  )
}

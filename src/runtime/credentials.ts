/** Transports that tell what goes out as a credential before it goes, so that none of it is shown when it comes back. */

import type { HttpRequest, Reach, Transports } from '../backends/transport.ts'
import type { Learn } from '../core/redact.ts'

export function telling(transports: Transports, learn: Learn): Transports {
  return (reach) => {
    learn(secretsIn(reach))
    const { http, socket, stream, upgrade } = transports(reach)
    const told = <T extends Asked>(asked: T): T => {
      learn(credentialsIn(asked))
      return asked
    }
    return {
      http: (request) => http(told(request)),
      socket: (url, options) => socket(url, told(options)),
      stream: (request) => stream(told(request)),
      ...(upgrade ? { upgrade: (request) => upgrade(told(request)) } : {}),
    }
  }
}

function secretsIn({ certificate, proxy }: Reach): readonly string[] {
  const password = proxy !== undefined && URL.canParse(proxy) ? new URL(proxy).password : ''
  return [...(certificate ? [certificate.key] : []), password, decoded(password)]
}

type Asked = Pick<HttpRequest, 'headers'>

/** RFC 9110 §11.6.2; of Basic (RFC 7617) the password as well. */
function credentialsIn({ headers = {} }: Asked): readonly string[] {
  const value = Object.entries(headers).find(([name]) => name.toLowerCase() === 'authorization')?.[1] ?? ''
  const [, scheme = '', credential = ''] = /^(\S+) +(\S+)$/.exec(String(value)) ?? []
  if (scheme.toLowerCase() !== 'basic') return [credential]
  const plain = Buffer.from(credential, 'base64').toString('utf8')
  return [credential, plain.slice(plain.indexOf(':') + 1)]
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

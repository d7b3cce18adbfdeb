/** What an agent beside a Rancher 1.x server lets pass: looks at one environment, commands in its containers, and the way to their output. */

import * as z from 'zod'
import { bodyOf, type Call, type Fence, jsonOf, only, type Passed, partsOf, Refusal, unknownCall } from './fence.ts'

const LIST = ['limit', 'marker', 'sort', 'order']
const FILTERS = [
  'name',
  'name_like',
  'name_prefix',
  'state',
  'state_ne',
  'externalId',
  'externalId_prefix',
  'hostId',
  'uuid',
  'id',
  'removed_null',
]
const LOOKS = ['containers', 'hosts', 'services', 'stacks', 'environments']
const ID = /^1[a-z]+\d+$/
/** Tokens of execs that were made through this agent, until they are used. */
const MOST_TOKENS = 10_000
const TOKEN_MS = 5 * 60_000

const ExecBody = z.strictObject({
  command: z.array(z.string()).min(1),
  attachStdin: z.boolean().optional(),
  attachStdout: z.boolean().optional(),
  tty: z.boolean().optional(),
})
const Access = z.object({ url: z.string(), token: z.string() })

export function rancher1Fence(project: string): Fence {
  /** Where a token leads; the websocket is no call of the API, and its path says nothing of the environment. */
  const tokens = new Map<string, { readonly path: string; readonly until: number }>()

  const remember = ({ status, body }: { readonly status: number; readonly body: string }): string => {
    const access = status < 300 ? Access.safeParse(jsonOf(body)) : undefined
    if (access?.success && URL.canParse(access.data.url)) {
      tokens.set(access.data.token, { path: new URL(access.data.url).pathname, until: Date.now() + TOKEN_MS })
      const [oldest] = tokens.keys()
      if (tokens.size > MOST_TOKENS && oldest !== undefined) tokens.delete(oldest)
    }
    return body
  }

  function websocket(call: Call): Passed {
    const [pathname = '', search = ''] = call.path.split('?')
    const query = new URLSearchParams(search)
    const token = query.get('token') ?? ''
    const known = tokens.get(token)
    tokens.delete(token)
    if (!known || known.until < Date.now() || known.path !== pathname || [...query.keys()].length !== 1)
      throw new Refusal('that connection was not made through it')
    return { method: 'GET', path: `${pathname}?${query}` }
  }

  return async (call) => {
    if (call.kind === 'socket') return websocket(call)
    if (call.kind !== 'http') throw unknownCall(call)
    // cattle's own links have a slash before the question mark.
    const { segments, query } = partsOf(call.path.replace(/\/(?=\?|$)/, ''))
    const [version, what, ...rest] = segments
    const path = `/${segments.join('/')}`
    if (version !== 'v1' && version !== 'v2-beta') throw unknownCall(call)
    if (call.method === 'GET' && what === undefined) return { method: 'GET', path: `${path}${only(query, [])}` }
    if (what !== 'projects') throw unknownCall(call)
    const [environment, kind, id, more] = rest
    if (call.method === 'GET' && environment === undefined) return { method: 'GET', path: `${path}${only(query, LIST)}` }
    if (environment !== project) throw new Refusal(`the environment ${JSON.stringify(environment)} is not on its list`)
    if (kind !== undefined && !LOOKS.includes(kind)) throw unknownCall(call)
    if (id !== undefined && !ID.test(id)) throw unknownCall(call)
    if (call.method === 'GET' && more === undefined)
      return { method: 'GET', path: `${path}${only(query, [...LIST, ...FILTERS])}` }
    const action = query.get('action')
    if (call.method !== 'POST' || kind !== 'containers' || id === undefined || more !== undefined) throw unknownCall(call)
    const search = only(query, ['action'])
    if (action === 'execute')
      return { method: 'POST', path: `${path}/${search}`, body: bodyOf(ExecBody, call, 'a command'), answer: remember }
    throw unknownCall(call)
  }
}

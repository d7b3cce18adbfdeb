/** Fetches an image that is not on the engine, where an administrator lets it, and tells how far it is. */

import { BackendError, type Failure } from '../../core/errors.ts'
import type { ExecEvent } from '../../core/model.ts'
import { TransportError } from '../transport.ts'
import { type Api, messageOf, refusal } from './api.ts'
import type { Login } from './logins.ts'

type Progress = Extract<ExecEvent, { type: 'progress' }>

/** What a reader is told at most. */
const TELL_MS = 1_000
/** One line of the engine's, and a refusal in place of lines. */
const MAX_LINE = 64 * 1024
/** More layers than any image has. */
const MAX_LAYERS = 1_000

/** Throws BackendError: nothing has run. Given up, it ends the engine's own work as well. `login`: where an administrator has named a file of them. */
export async function* pull(api: Api, image: string, login: Login | undefined, signal: AbortSignal): AsyncGenerator<Progress> {
  const { name, tag } = reference(image)
  const query = new URLSearchParams({ fromImage: name, tag })
  yield { type: 'progress', text: `pulling ${image}` }
  const headers = login?.header === undefined ? {} : { 'x-registry-auth': login.header }
  try {
    const response = await api.stream({ path: `/images/create?${query}`, headers, signal })
    if (response.status !== 200) {
      const body = await firstOf(response.body)
      throw response.status === 404 || response.status === 500
        ? pullFailure(image, messageOf({ body }), login)
        : refusal({ status: response.status, body }, `the image ${image}`)
    }
    const layers = layersOf(image)
    let toldAt = 0
    for await (const line of linesOf(response.body)) {
      const said = layers.take(line)
      if (said.failure !== undefined) throw pullFailure(image, messageOf({ body: said.failure }), login)
      if (Date.now() - toldAt < TELL_MS) continue
      toldAt = Date.now()
      yield { type: 'progress', text: layers.text() }
    }
  } catch (error) {
    if (error instanceof BackendError) throw error
    if (signal.aborted)
      throw no(
        'stream_broken',
        `drover stopped waiting while ${image} was pulled.`,
        'Nothing ran. Pull it on its host, or give it more time (timeout=).',
      )
    if (error instanceof TransportError)
      throw no('backend_unavailable', `Pulling ${image} broke off: ${error.message}.`, 'Try again.', error)
    throw error
  }
}

/** Without a tag the engine would fetch every tag there is. */
function reference(image: string): { readonly name: string; readonly tag: string } {
  const [, named = image, digest] = /^(.*?)@(.+)$/.exec(image) ?? []
  const [, bare = named, tag = 'latest'] = /^(.*):([^:/]+)$/.exec(named) ?? []
  return { name: bare, tag: digest ?? tag }
}

type Line = {
  readonly id?: unknown
  readonly status?: unknown
  readonly error?: unknown
  readonly progressDetail?: { readonly current?: unknown; readonly total?: unknown }
}

/** Adds up what the engine says of each layer. */
function layersOf(image: string) {
  const layers = new Map<string, { done: boolean; current: number; total: number }>()
  const bytes = (value: unknown) => (typeof value === 'number' && value > 0 ? value : 0)
  return {
    take({ id, status, error, progressDetail }: Line): { readonly failure?: string } {
      if (typeof error === 'string') return { failure: error }
      if (typeof id !== 'string' || typeof status !== 'string') return {}
      const isLayer = /^(Pulling fs layer|Waiting|Downloading|Download complete|Verifying|Extracting|Pull complete|Already)/
      if (!isLayer.test(status) || (layers.size >= MAX_LAYERS && !layers.has(id))) return {}
      const layer = layers.get(id) ?? { done: false, current: 0, total: 0 }
      layers.set(id, layer)
      if (status === 'Downloading') {
        layer.current = bytes(progressDetail?.current)
        layer.total = bytes(progressDetail?.total)
      } else if (/^(Verifying|Download complete|Extracting)/.test(status)) layer.current = layer.total
      else if (/^(Pull complete|Already)/.test(status)) {
        layer.current = layer.total
        layer.done = true
      }
      return {}
    },
    text() {
      const all = [...layers.values()]
      const sum = (key: 'current' | 'total') => all.reduce((total, layer) => total + layer[key], 0)
      const done = all.filter((layer) => layer.done).length
      const size = sum('total') > 0 ? `, ${megabytes(sum('current'))} of ${megabytes(sum('total'))} MB` : ''
      return `pulling ${image}${all.length > 0 ? `: ${done} of ${all.length} layers${size}` : ''}`
    },
  }
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1)

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const data of body) {
    const lines = (rest + decoder.decode(data, { stream: true })).split('\n')
    rest = (lines.pop() ?? '').slice(0, MAX_LINE)
    for (const line of lines) yield lineOf(line)
  }
  yield lineOf(rest)
}

function lineOf(text: string): Line {
  try {
    const line: unknown = JSON.parse(text)
    return typeof line === 'object' && line !== null ? line : {}
  } catch {
    return {}
  }
}

async function firstOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const data of body) {
    text += decoder.decode(data, { stream: true })
    if (text.length > MAX_LINE) break
  }
  return text
}

function loginAdvice(login: Login | undefined): string {
  if (!login) return 'Pull it on the engine’s host; an administrator can let drover log in with newContainers: { logins: … }.'
  if (login.header === undefined)
    return `drover has no login for ${login.registry}: an administrator can add one to its file of logins with \`docker login\`.`
  return `drover’s login for ${login.registry} was not taken, or may not read this image: an administrator has to see to it.`
}

/** What registries answer, in words a person can act on. */
function pullFailure(image: string, said: string, login: Login | undefined): BackendError {
  if (/pull access denied|unauthorized|authentication required|access forbidden|\bdenied: |no basic auth/i.test(said))
    return no(
      'backend_unauthorized',
      `The registry does not let the engine have ${image}, or has no such image: ${said}`,
      loginAdvice(login),
    )
  if (/manifest (for .* )?(unknown|not found)|not found|no such|name unknown|invalid reference/i.test(said))
    return no('backend_not_found', `There is no ${image} in its registry: ${said}`, 'Check its name and its tag or digest.')
  if (/no space left/i.test(said))
    return no('backend_unavailable', `The engine’s disk is full, so ${image} was not pulled.`, 'Make room on its host.')
  return no(
    'backend_unavailable',
    `The engine could not pull ${image}${said ? `: ${said}` : ''}.`,
    'Check whether the engine’s host reaches the registry, and try again.',
  )
}

function no(code: Failure['code'], message: string, next: string, cause?: unknown): BackendError {
  return new BackendError({ code, message, next }, { ran: 'no', cause })
}

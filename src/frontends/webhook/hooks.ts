/** Signed webhooks: a monitoring system asks for the one request that the configuration ties to its hook. */

import { Hono } from 'hono/tiny'
import { parseCommandLine, wantedOf } from '../../core/command-line.ts'
import { DroverError } from '../../core/errors.ts'
import type { Argv, Command, Place, Rollout, RunRequest } from '../../core/model.ts'
import type { Gateway } from '../../core/ports.ts'
import { faultOf, rolloutArgv } from '../../core/rollout.ts'
import { runIdFor } from '../../core/run-id.ts'
import type { Secret } from '../../core/secret.ts'
import { readCapped } from '../body.ts'

export type Hook = {
  /** One, or two while they are being exchanged. */
  readonly secrets: readonly string[]
  /** `<team>/<channel>` that gets the answer. */
  readonly channel: string
  readonly thread?: string | { readonly pointer: string }
  /** In the grammar of `/exec` and `rollout`; an argument, or the value of image=, replicas= or to=, that is exactly `{name}` is filled from the body. */
  readonly request: string
  readonly parameters: Readonly<Record<string, Parameter>>
}

export type Parameter = {
  readonly pointer: string
  readonly type?: 'word' | 'number' | 'path' | 'image'
  readonly oneOf?: readonly string[]
}

/** As drover.yaml has it. */
type Written = Omit<Hook, 'secrets' | 'parameters' | 'thread'> & {
  readonly secrets: readonly Secret[]
  readonly thread?: Hook['thread'] | undefined
  readonly parameters: Readonly<
    Record<string, { readonly [K in keyof Parameter]: Parameter[K] | undefined } & { readonly pointer: string }>
  >
}

export function hookOf({ secrets, channel, thread, request, parameters }: Written): Hook {
  const typed = Object.entries(parameters).map(([key, { pointer, type, oneOf }]): [string, Parameter] => [
    key,
    { pointer, ...(type ? { type } : {}), ...(oneOf ? { oneOf } : {}) },
  ])
  return {
    secrets: secrets.map((secret) => secret.reveal()),
    channel,
    request,
    parameters: Object.fromEntries(typed),
    ...(thread === undefined ? {} : { thread }),
  }
}

/** How far the sender's clock may be off, either way, in seconds. */
const toleranceS = 300
/** Signatures and deliveries are remembered twice as long as a signature is good for. */
const rememberMs = 2 * 2 * toleranceS * 1000
const maxBody = 256 * 1024

/** Shapes of values from outside. None can begin with `-`, so none can become an option of the command. */
const types = {
  word: /^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,199}$/,
  number: /^\d{1,15}(\.\d{1,10})?$/,
  // Of a rollout, which looks at it again.
  image: /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}$/,
  path: /^(?!.*(?:^|\/)\.\.(?:\/|$))\/[A-Za-z0-9_./@:-]{0,499}$/,
}

const fitting: Readonly<Record<keyof typeof types, string>> = {
  word: 'letters, digits and _ . : @ -, at most 200, the first of them a letter, a digit or _',
  number: 'a number that is not negative',
  image: 'the name of an image',
  path: 'an absolute path without .. and spaces',
}

type Template = ReturnType<typeof prepareHook>

/** Checks a hook when drover starts: its request has to parse, and each parameter has to be used, as a whole argument. */
export function prepareHook(name: string, hook: Hook) {
  const wrong = (message: string) =>
    new DroverError({ code: 'config', message: `hooks.${name}: ${message}`, next: 'Correct drover.yaml and start again.' })
  const values = new Map<Filled, string>()
  const text = hook.request.replaceAll(wholeValue, (all, key: Filled, hole: string) => {
    if (!Object.hasOwn(hook.parameters, hole)) return all
    values.set(key, hole)
    return `${key}=0`
  })
  const line = parse({ ...hook, request: text }, wrong)
  const holes = new Set(line.verb === 'rollout' ? values.values() : argumentHoles(hook, line, wrong))
  if (line.verb === 'exec' ? values.size > 0 : Object.keys(hook.parameters).some((key) => text.includes(`{${key}}`)))
    throw wrong('of a rollout a parameter is the whole value of image=, replicas= or to=, and of a command a whole argument')
  const unused = Object.keys(hook.parameters).find((key) => !holes.has(key))
  if (unused) throw wrong(`the parameter ${unused} is not used in the request as a whole argument or value {${unused}}`)
  const [team, channel] = hook.channel.split('/') as [string, string]
  return { name, hook, line, values, team, channel }
}

/** What a rollout may get from the body; which workload it changes never comes from there. */
const wholeValue = /(?<!\S)(image|replicas|to)=\{([a-z][a-z0-9_]*)\}(?!\S)/g
type Filled = 'image' | 'replicas' | 'to'

function argumentHoles(hook: Hook, { command }: { readonly command: Command }, wrong: (message: string) => DroverError) {
  return command.argv.flatMap((arg, i) => {
    const hole = /^\{([a-z][a-z0-9_]*)\}$/.exec(arg)?.[1]
    if (hole !== undefined && Object.hasOwn(hook.parameters, hole)) {
      if (i === 0) throw wrong('the program itself cannot come from the body')
      return [hole]
    }
    if (Object.keys(hook.parameters).some((key) => arg.includes(`{${key}}`)))
      throw wrong(`${JSON.stringify(arg)} mixes a parameter with other text; a parameter is always a whole argument`)
    return []
  })
}

function parse(hook: Hook, wrong: (message: string) => DroverError) {
  try {
    const line = parseCommandLine(hook.request)
    if (line.verb === 'exec' || line.verb === 'rollout') return line
  } catch (error) {
    throw wrong(
      `the request does not parse: ${error instanceof DroverError ? `${error.message} ${error.next ?? ''}` : String(error)}`,
    )
  }
  throw wrong('the request has to be a command or a rollout, for example: label=web -- df -h')
}

export function hookRoutes(hooks: Readonly<Record<string, Hook>>, gateway: Gateway, services: { now(): number }): Hono {
  const templates = new Map(Object.entries(hooks).map(([name, hook]) => [name, prepareHook(name, hook)]))
  const app = new Hono()
  app.post('/hooks/:name', async (context) => {
    try {
      const template = templates.get(context.req.param('name'))
      const raw = await readBody(context.req.raw)
      // An unknown hook answers like a wrong signature: names of hooks cannot be tried out.
      if (!template) throw unsigned(notSigned)
      if ([...new URL(context.req.url).searchParams.keys()].length > 0)
        throw unsigned('Nothing is taken from the query string; sign the request.')
      const signature = await verify(template, context.req.raw.headers, raw, services.now())
      const request = await requestOf(template, context.req.raw.headers, signature, raw, services.now())
      const isNewSignature = await gateway.firstTime(`hook:${template.name}:${signature}`, rememberMs)
      // The same bytes again under another delivery id is a replay, not a retry.
      if (!isNewSignature && (await gateway.read(request.id)) === undefined)
        throw unsigned('This signature was used before; a retry is signed anew.')
      const accepted = await gateway.submit(request)
      return context.json({ run: request.id, ...(accepted === 'duplicate' ? { duplicate: true } : {}) }, 202)
    } catch (error) {
      if (!(error instanceof DroverError)) throw error
      return context.json({ error: error.toFailure() }, statusOf(error))
    }
  })
  return app
}

function statusOf(error: DroverError): 400 | 401 | 413 | 503 {
  if (error.code === 'identity') return 401
  if (error.code === 'ledger_unavailable') return 503
  return error.message.includes('larger than') ? 413 : 400
}

const notSigned = 'The request is not signed, or not for this hook.'

function unsigned(message: string): DroverError {
  return new DroverError({
    code: 'identity',
    message,
    next: 'Send X-Drover-Timestamp (seconds) and X-Drover-Signature: v1=hex(HMAC-SHA256(secret, "v1:" + timestamp + ":" + body)).',
  })
}

/** Said only to who signed well: a clock is wrong, or the request was kept for too long. */
function stale(now: number, timestamp: number): DroverError {
  const seconds = Math.round(Math.abs(now / 1000 - timestamp))
  const apart = `${seconds < 600 ? `${seconds} s` : `${Math.round(seconds / 60)} minutes`} ${timestamp > now / 1000 ? 'ahead of' : 'behind'} drover's clock (${new Date(now).toISOString()})`
  return new DroverError({
    code: 'identity',
    message: `The signature is good, but its timestamp is ${apart}, and at most ${toleranceS} s are taken.`,
    next: 'Set the clocks of both machines (NTP), and sign each request, a retry too, at the moment it is sent.',
  })
}

async function readBody(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  const body = await readCapped(request.body, maxBody)
  if (body !== 'too_large') return body
  throw new DroverError({
    code: 'usage',
    message: `The body is larger than ${maxBody} bytes.`,
    next: 'Send only what the parameters need.',
  })
}

/** Constant-time over the raw bytes, fresh in both directions. Returns the signature that matched. */
async function verify({ hook }: Template, headers: Headers, body: Uint8Array<ArrayBuffer>, now: number): Promise<string> {
  const timestamp = headers.get('x-drover-timestamp') ?? ''
  const signature = /^v1=([0-9a-f]{64})$/.exec(headers.get('x-drover-signature') ?? '')?.[1]
  if (!/^\d{10}$/.test(timestamp) || !signature) throw unsigned(notSigned)
  const given = Uint8Array.from(signature.match(/../g)!, (byte) => Number.parseInt(byte, 16))
  const prefix = new TextEncoder().encode(`v1:${timestamp}:`)
  const signed = new Uint8Array(prefix.byteLength + body.byteLength)
  signed.set(prefix)
  signed.set(body, prefix.byteLength)
  let good = false
  for (const secret of hook.secrets) {
    const key = await crypto.subtle.importKey('raw', new TextEncoder().encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, [
      'verify',
    ])
    if (await crypto.subtle.verify('HMAC', key, given, signed)) good = true
  }
  if (!good) throw unsigned(notSigned)
  if (Math.abs(now / 1000 - Number(timestamp)) > toleranceS) {
    throw stale(now, Number(timestamp))
  }
  return signature
}

async function requestOf(
  template: Template,
  headers: Headers,
  signature: string,
  raw: Uint8Array,
  now: number,
): Promise<RunRequest> {
  const { name, hook, line, team, channel } = template
  const delivery = headers.get('x-drover-delivery') ?? signature
  if (!/^[\x21-\x7e]{1,200}$/.test(delivery)) {
    throw new DroverError({
      code: 'usage',
      message: 'X-Drover-Delivery takes 1 to 200 printable characters.',
      next: 'Send an id of your own for the event; retries carry the same id.',
    })
  }
  const body = needsBody(hook) ? parseBody(raw) : undefined
  const thread = typeof hook.thread === 'object' ? threadOf(resolve(body, hook.thread.pointer)) : hook.thread
  const place: Place = { kind: 'slack', team, channel, ...(thread === undefined ? {} : { threadTs: thread }) }
  const key = `webhook:${name}:${delivery}`
  return {
    id: await runIdFor(key),
    actor: { kind: 'webhook', name },
    trigger: { kind: 'webhook', delivery: key },
    ...wantedOf({ ...line, ...filled(template, body) }),
    place,
    receivedAt: now,
    typed: hook.request,
  }
}

/** What the hook's line asks for, with the values of this body. */
function filled({ hook, line, values }: Template, body: unknown): { readonly command: Command; readonly rollout?: Rollout } {
  const fromBody = (hole: string) => fill(hole, hook.parameters[hole]!, body)
  if (line.verb === 'exec') {
    const argv = line.command.argv.map((arg) => {
      const hole = /^\{([a-z][a-z0-9_]*)\}$/.exec(arg)?.[1]
      return hole !== undefined && Object.hasOwn(hook.parameters, hole) ? fromBody(hole) : arg
    })
    return { command: { ...line.command, argv: argv as unknown as Argv } }
  }
  const given = [...values].map(([key, hole]) => [key, key === 'replicas' ? Number(fromBody(hole)) : fromBody(hole)] as const)
  const rollout = { ...line.rollout, ...Object.fromEntries(given) } as Rollout
  const fault = faultOf(rollout)
  if (fault) throw new DroverError({ code: 'usage', message: `${fault.message} Nothing was changed.`, next: fault.next })
  return { command: { argv: rolloutArgv(rollout) }, rollout }
}

function needsBody(hook: Hook): boolean {
  return Object.keys(hook.parameters).length > 0 || typeof hook.thread === 'object'
}

function parseBody(raw: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(raw))
  } catch (cause) {
    throw new DroverError(
      { code: 'usage', message: 'The body is not JSON.', next: 'Send JSON: this hook takes values from its body.' },
      { cause },
    )
  }
}

/** RFC 6901; undefined where there is nothing. Own properties only. */
function resolve(body: unknown, pointer: string): unknown {
  let at = body
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = (at as Record<string, unknown>)[key]
  }
  return at
}

function fill(name: string, parameter: Parameter, body: unknown): string {
  const value = resolve(body, parameter.pointer)
  const text = typeof value === 'string' ? value : typeof value === 'number' ? String(value) : undefined
  const fits =
    text !== undefined && (parameter.oneOf ? parameter.oneOf.includes(text) : types[parameter.type ?? 'word'].test(text))
  if (fits) return text
  const wanted = parameter.oneOf ? `one of ${parameter.oneOf.join(', ')}` : `a ${parameter.type ?? 'word'}`
  throw new DroverError({
    code: 'usage',
    message: `The body's ${parameter.pointer} (${name}) is not ${wanted}; nothing ran.`,
    next: parameter.oneOf ? 'Send one of those.' : `Send ${fitting[parameter.type ?? 'word']}, as text or a number.`,
  })
}

function threadOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^\d{10}\.\d{6}$/.test(value) ? value : undefined
}

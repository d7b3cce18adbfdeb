/** How an agent proves who it is: it signs a challenge that is good once, for one gateway and for a short time. */

import { VERSION } from './frame.ts'
import { base64url, isSignedBy, type PrivateKey, sign } from './keys.ts'

/** Where agents connect; the name stands in the query. */
export const CONNECT_PATH = '/agents/connect'

/** Close codes of the websocket, beside `FAULT`. */
export const REPLACED = 4001
export const REFUSED = 4003
export const OTHER_VERSION = 4006
export const SILENT = 4008

/** For the whole handshake. */
export const HANDSHAKE_MS = 10_000
/** The nonce alone keeps a signature from being used again; the time says that a clock is wrong before anything else does. */
export const MOST_SKEW_MS = 5 * 60_000
/** The agent asks, the gateway answers, and each notices when the other does not. */
export const PING = 'ping'
export const PONG = 'pong'
export const PING_MS = 15_000
export const SILENCE_MS = 45_000
/** Of the messages of the handshake. */
const MOST_BYTES = 4096

export type Challenge = { readonly type: 'challenge'; readonly versions: readonly number[]; readonly nonce: string }
export type Hello = {
  readonly type: 'hello'
  readonly version: number
  readonly name: string
  readonly host: string
  /** Milliseconds since 1970. */
  readonly time: number
  readonly signature: string
  /** For the reader: `drover 0.1.0, docker`. */
  readonly says: string
}
export type Welcome = { readonly type: 'welcome' }

export function newChallenge(): Challenge {
  return { type: 'challenge', versions: [VERSION], nonce: base64url(crypto.getRandomValues(new Uint8Array(32))) }
}

/** The first line keeps this signature from ever meaning anything else. */
const signedText = ({ name, host, time }: Pick<Hello, 'name' | 'host' | 'time'>, nonce: string) =>
  ['drover agent handshake 1', name, host, nonce, String(time)].join('\n')

export async function answerOf(
  challenge: Challenge,
  who: { readonly name: string; readonly host: string; readonly says: string; readonly key: PrivateKey; readonly time: number },
): Promise<Hello> {
  const { name, host, says, time } = who
  const signature = await sign(who.key, signedText({ name, host, time }, challenge.nonce))
  return { type: 'hello', version: VERSION, name, host, time, signature, says }
}

/** What the gateway knows of the agent that wants in. */
export type Expected = {
  readonly name: string
  readonly key: string
  readonly nextKey?: string | undefined
  /** As the agent has to call this gateway. */
  readonly host: string
  readonly now: number
}

/** Which of its keys in drover.yaml an agent has proved itself by. */
export type ProvedBy = 'key' | 'nextKey'

export type Verdict =
  | { readonly ok: true; readonly says: string; readonly by: ProvedBy }
  | { readonly ok: false; readonly code: number; readonly why: string }

export async function judgeHello(hello: Hello, challenge: Challenge, expected: Expected): Promise<Verdict> {
  const no = (why: string, code = REFUSED): Verdict => ({ ok: false, code, why })
  if (hello.version !== VERSION) return no(`this gateway speaks version ${VERSION}, the agent ${hello.version}`, OTHER_VERSION)
  if (hello.name !== expected.name) return no('it signs with another name than it connected with')
  const by = await provedBy(expected, signedText(hello, challenge.nonce), hello.signature)
  if (by === undefined) return no(`its key is not the one under agents.${expected.name}`)
  if (hello.host !== expected.host)
    return no(`it calls this gateway ${hello.host.slice(0, 40)}, which answers as ${expected.host.slice(0, 40)}`)
  if (Math.abs(hello.time - expected.now) > MOST_SKEW_MS)
    return no(`its clock differs by ${Math.round(Math.abs(hello.time - expected.now) / 60_000)} minutes`)
  return { ok: true, says: hello.says, by }
}

async function provedBy({ key, nextKey }: Expected, text: string, signature: string): Promise<ProvedBy | undefined> {
  if (await isSignedBy(key, text, signature)) return 'key'
  return nextKey !== undefined && (await isSignedBy(nextKey, text, signature)) ? 'nextKey' : undefined
}

export function readChallenge(text: string): Challenge | undefined {
  const { type, versions, nonce } = objectOf(text)
  if (type !== 'challenge' || typeof nonce !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(nonce)) return undefined
  if (!Array.isArray(versions)) return undefined
  return { type, versions: versions.filter((one) => typeof one === 'number'), nonce }
}

export function readHello(text: string): Hello | undefined {
  const { type, version, name, host, time, signature, says } = objectOf(text)
  if (type !== 'hello' || typeof version !== 'number' || typeof name !== 'string' || typeof host !== 'string') return undefined
  // A line break would move what was signed from one field to the next.
  if (typeof time !== 'number' || typeof signature !== 'string' || /[\n\r]/.test(name + host)) return undefined
  return { type, version, name, host, time, signature, says: typeof says === 'string' ? printable(says) : '' }
}

export const isWelcome = (text: string): boolean => objectOf(text).type === 'welcome'

function objectOf(text: string): Readonly<Record<string, unknown>> {
  if (text.length > MOST_BYTES) return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {}
  }
}

const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '').slice(0, 100)

/** As both sides write it: lower case, and no port where it is a usual one. */
export const hostOf = (host: string): string => host.toLowerCase().replace(/:(443|80)$/, '')

/** What went over the wires as lines of the protocol view: named, decoded, and with secrets cut short. */

import type { Decision, StoredEvent } from '../../core/model.ts'
import type { Traffic } from '../rancher/peer.ts'
import type { Delivery, PeerCall } from '../slack/peer.ts'
import { type FrameReader, type Part, shortened } from './frames.ts'

export type Lane = 'slack-in' | 'drover' | Engine | 'socket' | 'slack-out'
export type Engine = 'rancher' | 'kubernetes'
export type Line = {
  readonly at: number
  readonly lane: Lane
  readonly title: string
  readonly tone?: 'good' | 'bad'
  readonly parts: readonly Part[]
}

/** JSON up to this long stays on one line. */
const ONE_LINE = 90
const HIDDEN_FIELDS = new Set([
  'token',
  'response_url',
  'trigger_id',
  'event_context',
  'x-slack-signature',
  'upload_url',
  'client_secret',
])

/** Enough to recognise it again, too little to use it. */
export function cut(secret: string): string {
  return `${secret.slice(0, Math.min(8, Math.floor(secret.length / 4)))}…`
}

/** JSON for reading; secrets by name are cut short. */
function pretty(value: unknown): string {
  const hide = (key: string, one: unknown) => (HIDDEN_FIELDS.has(key) && typeof one === 'string' ? cut(one) : one)
  const flat = JSON.stringify(value, hide) ?? ''
  return flat.length <= ONE_LINE ? flat : shortened(JSON.stringify(value, hide, 2), 4000)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

type Fields = Readonly<Record<string, unknown>>
const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})

// ---- Slack -----------------------------------------------------------------------------------

export function deliveryLine(delivery: Delivery): Line {
  const isJson = delivery.rawBody.startsWith('{')
  const form: Fields = isJson ? {} : Object.fromEntries(new URLSearchParams(delivery.rawBody))
  const payload = fieldsOf(isJson ? parsed(delivery.rawBody) : parsed(String(form.payload ?? '')))
  const kind =
    form.command === undefined
      ? `${String(fieldsOf(payload.event).type ?? payload.type ?? 'request')}${pressed(payload)}`
      : `${String(form.command)} ${asTyped(String(form.text ?? ''))}`
  const headers = Object.entries(delivery.headers)
    .map(([name, value]) => `${name}: ${HIDDEN_FIELDS.has(name) ? cut(value.replace(/^v0=/, '')).replace(/^/, 'v0=') : value}`)
    .join('\n')
  const body =
    form.payload === undefined && !isJson
      ? Object.entries(form)
          .map(([name, value]) => `${name}: ${HIDDEN_FIELDS.has(name) ? cut(String(value)) : String(value)}`)
          .join('\n')
      : pretty(payload)
  const answer = typeof delivery.body === 'string' ? delivery.body : pretty(delivery.body)
  return {
    at: delivery.at ?? Date.now(),
    lane: 'slack-in',
    title: `Slack sends ${kind}`,
    ...(delivery.failure === undefined ? {} : { tone: 'bad' as const }),
    parts: [
      { name: 'signed headers', text: headers },
      { name: isJson || form.payload !== undefined ? 'body, decoded' : 'form, decoded', text: body },
      {
        name: 'answered',
        text:
          delivery.failure === undefined ? `HTTP ${delivery.status} ${answer}`.trim() : `${delivery.failure} ${delivery.status}`,
      },
    ],
  }
}

/** Slack escapes these three; the form below the title shows it as it was sent. */
function asTyped(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}

function pressed({ actions }: Fields): string {
  const [button] = Array.isArray(actions) ? actions.map(fieldsOf) : []
  const label = fieldsOf(button?.text).text
  return typeof label === 'string' ? `: the button “${label}”` : ''
}

export function callLine({ method, at, args, answered }: PeerCall): Line {
  const ok = answered.ok !== false
  const isLimited = answered.error === 'ratelimited'
  const verdict = ok ? 'ok' : isLimited ? 'HTTP 429, try again later' : String(answered.error)
  return {
    at,
    lane: 'slack-out',
    title: `${method} → ${verdict}`,
    tone: ok ? 'good' : 'bad',
    parts: [
      { name: 'arguments', text: pretty(args) },
      { name: 'answer', text: pretty(answered) },
    ],
  }
}

// ---- Rancher and Kubernetes ------------------------------------------------------------------

export function trafficLine(traffic: Traffic, reader: FrameReader, engine: Engine = 'rancher'): Line {
  const { at } = traffic
  switch (traffic.type) {
    case 'http': {
      const response = parsed(traffic.response)
      const token = fieldsOf(response).token
      const claims =
        typeof token === 'string' ? parsed(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) : undefined
      const { data = fieldsOf(response).items } = fieldsOf(response)
      const summary = Array.isArray(data)
        ? [{ name: 'answer', text: listed(data) }]
        : [{ name: 'answer', text: pretty(response ?? traffic.response) }]
      return {
        at,
        lane: engine,
        // A label selector is read as it was written.
        title: `${traffic.method} ${traffic.path.replaceAll(/%(2C|3D|21|28|29)/gi, decodeURIComponent)} → ${traffic.status}`,
        tone: traffic.status < 400 ? 'good' : 'bad',
        parts: [
          ...(traffic.request === '' ? [] : [{ name: 'body', text: pretty(parsed(traffic.request) ?? traffic.request) }]),
          ...summary,
          ...(claims === undefined ? [] : [{ name: 'what the token says', text: pretty(claims) }]),
        ],
      }
    }
    case 'open':
      return {
        at,
        lane: 'socket',
        title: `websocket ${traffic.socket} opens: ${traffic.path}?${engine === 'rancher' ? 'token' : 'command'}=…`,
        tone: 'good',
        parts: traffic.argv === undefined ? [] : [{ name: 'starts', text: pretty(traffic.argv) }],
      }
    case 'refused':
      return {
        at,
        lane: 'socket',
        title: `websocket refused: HTTP ${traffic.status}`,
        tone: 'bad',
        parts: traffic.response === '' ? [] : [{ name: 'answer', text: shortened(traffic.response) }],
      }
    case 'message': {
      const parts = traffic.from === 'client' ? reader.client(traffic.data) : reader.host(traffic.data)
      const arrow = traffic.from === 'client' ? '→' : '←'
      const names = parts
        .filter(({ name }) => name !== 'Docker header')
        .map(({ name, text }) => (name.startsWith('drover') ? text : name))
      return {
        at,
        lane: 'socket',
        title: `${arrow} websocket ${traffic.socket}: ${brief(names.join(' · ') || 'a part of a frame')}`,
        parts: [{ name: 'message', text: `${traffic.data.length} bytes${traffic.base64 ? ', as base64 text' : ''}` }, ...parts],
      }
    }
    case 'closed': {
      const how = traffic.code === 1006 ? 'without a close frame' : `with close ${traffic.code}`
      return {
        at,
        lane: 'socket',
        title: `websocket ${traffic.socket} ends: ${traffic.by === 'client' ? 'drover lets go' : `the other side ends it ${how}`}`,
        ...(traffic.by === 'host' && traffic.code === 1006 ? { tone: 'bad' as const } : {}),
        parts: [],
      }
    }
    default:
      return traffic satisfies never
  }
}

function brief(text: string): string {
  return text.length <= 90 ? text : `${text.slice(0, 90)}…`
}

function listed(data: readonly unknown[]): string {
  const names = data.map(fieldsOf).map((one) => {
    const { namespace, name } = fieldsOf(one.metadata)
    if (name !== undefined) return `${String(namespace)}/${String(name)}`
    return `${String(one.id)} ${String(one.name ?? one.hostname ?? '')} (${String(one.state ?? '')})`
  })
  return shortened(`${data.length} found\n${names.join('\n')}`, 2000)
}

/** Only a rule, or none, denies; what could not be found or asked is refused. */
function refusedBy({ rule, failure: { code } }: Extract<Decision, { effect: 'deny' }>): string {
  if (code !== 'denied') return `refused: ${code}`
  return rule === undefined ? 'denied: no rule allows it' : `denied by the rule “${rule}”`
}

// ---- the ledger ------------------------------------------------------------------------------

export function ledgerLine({ seq, at, hash, event }: StoredEvent, before: string | undefined): Line {
  const { type, ...rest } = event
  const chain = {
    name: 'hash',
    text: `${before === undefined ? 'the first of its run' : `after ${before.slice(0, 12)}…`}\n${hash}`,
  }
  const line = (title: string, parts: readonly Part[], tone?: 'good' | 'bad'): Line => ({
    at,
    lane: 'drover',
    title,
    ...(tone === undefined ? {} : { tone }),
    parts: [...parts, { ...chain, name: `ledger event ${seq}, ${type}` }],
  })
  switch (event.type) {
    case 'accepted': {
      const { selector, command, rollout, timeoutMs, actor, trigger } = event.request
      return line(rollout ? 'read: which workloads, and what to change' : 'read: which containers, and which command', [
        { name: 'selector', text: pretty(selector) },
        { name: 'argv', text: JSON.stringify(command.argv) },
        ...(timeoutMs === undefined ? [] : [{ name: 'timeout', text: `${timeoutMs / 1000} s` }]),
        { name: 'who', text: `${JSON.stringify(actor)} by ${trigger.kind}` },
      ])
    }
    case 'resolved': {
      const thing = event.targets.some(({ name, facets }) => name === facets.workload) ? 'workload' : 'container'
      return line(`found ${event.targets.length} ${thing}${event.targets.length === 1 ? '' : 's'}`, [
        { name: 'targets', text: event.targets.map(({ id, name }) => `${id} ${name}`).join('\n') },
        ...(event.notes?.length ? [{ name: 'notes', text: event.notes.join('\n') }] : []),
      ])
    }
    case 'planned': {
      const { facts, change, seal } = event.plan
      const rows = facts.map(({ name, before, after }) => `${name}  ${before}${after === undefined ? '' : ` → ${after}`}`)
      return line(`planned: ${event.target}`, [
        { name: 'before and after', text: rows.join('\n') },
        ...(change === '' ? [] : [{ name: 'what is sent', text: change }]),
        { name: 'seal', text: seal },
      ])
    }
    case 'progressed':
      return line(`${event.target}: ${event.text}`, [])
    case 'decided': {
      const { decision, policy } = event
      const text =
        decision.effect === 'allow'
          ? `allowed by the rule “${decision.rule}”\nlimits ${JSON.stringify(decision.limits)}`
          : `${refusedBy(decision)}\n${decision.failure.message}`
      const title = decision.effect === 'allow' ? `allowed by the rule “${decision.rule}”` : refusedBy(decision)
      return line(
        title,
        [
          { name: 'decision', text },
          { name: 'policy', text: policy },
        ],
        decision.effect === 'allow' ? 'good' : 'bad',
      )
    }
    case 'ended': {
      const { ending } = event
      const isGood = ending.status === 'exited' && ending.code === 0
      const title = `${event.target} ended: ${ending.status}${ending.status === 'exited' ? ` ${ending.code}` : ''}`
      return line(
        title,
        [
          { name: 'ending', text: pretty(ending) },
          { name: 'bytes', text: JSON.stringify(event.count) },
        ],
        isGood ? 'good' : 'bad',
      )
    }
    case 'finished':
      return line(`finished: ${event.outcome.status}`, [{ name: 'outcome', text: pretty(event.outcome) }])
    default:
      return line(`recorded: ${type}`, Object.keys(rest).length === 0 ? [] : [{ name: type, text: pretty(rest) }])
  }
}

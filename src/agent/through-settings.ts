/** `agents:` and `through:` of drover.yaml: a backend that is reached through an agent says nothing of its address and its keys. */

import * as z from 'zod'

export const agentName = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'lower case letters, digits, - and _')

export const agentEntries = () =>
  z.record(
    agentName,
    z.strictObject({
      key: z.string().regex(/^ed25519:[A-Za-z0-9_-]{43}$/, 'a public key as `drover agent keygen` prints it: ed25519:…'),
      /** As the agent calls this gateway, where a proxy before it changes the Host header. */
      host: z.string().min(1).max(255).optional(),
    }),
  )

/** What the agent's own file says, and only that. */
const THEIRS = [
  ...['host', 'context', 'fromEnvironment', 'tls', 'plaintext', 'url', 'accessKey', 'secretKey', 'token', 'server', 'kubeconfig'],
  ...['inCluster', 'ca', 'caFingerprint', 'insecureSkipVerify', 'impersonate', 'impersonateGroup'],
  ...['address', 'namespace', 'fifoDirectory', 'parallel', 'nodes', 'temporaryService'],
]
/** Variable that stands for the keys which the agent keeps. */
const KEPT = 'DROVER_KEPT_BY_THE_AGENT'
export const keptByTheAgent: Readonly<Record<string, string>> = { [KEPT]: 'kept-by:the-agent' }

type Taken = {
  /** The document, with what the schema of each kind wants in the place of `through:`. */
  readonly document: unknown
  /** Agents by backend. */
  readonly through: Readonly<Record<string, string>>
  readonly problems: readonly string[]
}

export function takeThrough(document: unknown): Taken {
  const backends = recordOf(recordOf(document)?.backends)
  const through: Record<string, string> = {}
  const problems: string[] = []
  if (backends === undefined) return { document, through, problems }
  const entries = Object.entries(backends).map(([name, value]) => {
    const entry = recordOf(value)
    if (entry?.through === undefined) return [name, value] as const
    const { through: agent, ...rest } = entry
    if (typeof agent !== 'string') problems.push(`backends.${name}.through: the name of an agent under agents:`)
    else through[name] = agent
    const theirs = THEIRS.filter(
      (key) => key in rest && !(key === 'context' && rest.kind !== 'docker' && rest.kind !== 'kubernetes'),
    )
    if (theirs.length > 0) problems.push(`backends.${name}: ${theirs.join(', ')} stands in the agent’s own file, not here`)
    const standIn = standIns(rest.kind, rest.api, `https://${String(agent)}.agent`)
    if (standIn === undefined) problems.push(`backends.${name}: no agent reaches a backend of kind ${String(rest.kind)}`)
    return [name, { ...rest, ...standIn }] as const
  })
  return { document: { ...recordOf(document), backends: Object.fromEntries(entries) }, through, problems }
}

function standIns(kind: unknown, api: unknown, address: string): Readonly<Record<string, unknown>> | undefined {
  const key = { env: KEPT }
  switch (kind) {
    case 'docker':
      return { host: address }
    case 'kubernetes':
      return { server: address, token: key }
    case 'containerd':
      return api === undefined ? { namespace: 'theirs' } : {}
    case 'swarm':
      return { host: address }
    case 'rancher1':
      return { url: address, accessKey: key, secretKey: key }
    case 'rancher2':
      return { url: address, token: key }
    default:
      return undefined
  }
}

/** Mistakes that only the whole file shows. */
export function throughProblems(
  through: Taken['through'],
  agents: Readonly<Record<string, { readonly key: string }>>,
): readonly string[] {
  const unknown = Object.entries(through).find(([, agent]) => !Object.hasOwn(agents, agent))
  const keys = Object.entries(agents)
  const twice = keys.find(([, { key }], i) => keys.findIndex((other) => other[1].key === key) < i)
  return [
    ...(unknown ? [`backends.${unknown[0]}.through: there is no agent called ${unknown[1]} under agents:`] : []),
    ...(twice ? [`agents.${twice[0]}: another agent has the same key; make each its own`] : []),
  ]
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined
}

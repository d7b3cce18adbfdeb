/** `agents:` and `through:` of drover.yaml: a backend that is reached through an agent says nothing of its address and its keys. */

import * as z from 'zod'

const NAME = 'a name of lower case letters, digits, - and _, which begins with a letter or digit'
export const agentName = z.string(NAME).regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, NAME)

const KEY = 'the public key that `drover agent keygen` printed: ed25519:…'
const publicKey = z.string(KEY).regex(/^ed25519:[A-Za-z0-9_-]{43}$/, KEY)

export const agentEntries = () =>
  z.record(
    agentName,
    z.strictObject({
      key: publicKey,
      /** The one that replaces it: while both stand here, both are good. */
      nextKey: publicKey.optional(),
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
  readonly problems: readonly Problem[]
  /** Of a backend the keys that may be written beside the others there. */
  readonly keysAt: (path: readonly PropertyKey[], keys: readonly string[]) => readonly string[]
}
type Problem = { readonly path: readonly PropertyKey[]; readonly words: string }

export function takeThrough(document: unknown): Taken {
  const backends = recordOf(recordOf(document)?.backends)
  const through: Record<string, string> = {}
  const problems: Problem[] = []
  const keysAt: Taken['keysAt'] = ([room, name, ...rest], keys) => {
    if (room !== 'backends' || name === undefined || rest.length > 0) return keys
    return [...(Object.hasOwn(through, name) ? keys.filter((key) => !THEIRS.includes(key)) : keys), 'through']
  }
  if (backends === undefined) return { document, through, problems, keysAt }
  const entries = Object.entries(backends).map(([name, value]) => {
    const entry = recordOf(value)
    if (entry?.through === undefined) return [name, value] as const
    const { through: agent, ...rest } = entry
    const at = ['backends', name]
    if (typeof agent === 'string') through[name] = agent
    else problems.push({ path: [...at, 'through'], words: 'the name of an agent under agents:' })
    if (recordOf(rest.newContainers)?.logins !== undefined)
      problems.push({
        path: [...at, 'newContainers', 'logins'],
        words: 'an agent pulls nothing; pull images on its engine’s host',
      })
    const theirs = THEIRS.filter(
      (key) => key in rest && !(key === 'context' && rest.kind !== 'docker' && rest.kind !== 'kubernetes'),
    )
    for (const key of theirs) problems.push({ path: [...at, key], words: 'this stands in the agent’s own file, not here' })
    return [name, { ...rest, ...standIns(rest.kind, rest.api, `https://${String(agent)}.agent`) }] as const
  })
  return { document: { ...recordOf(document), backends: Object.fromEntries(entries) }, through, problems, keysAt }
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
      // The schema says which kinds there are.
      return undefined
  }
}

/** Mistakes that only the whole file shows. */
export function throughProblems(through: Taken['through'], agents: Readonly<Record<string, AgentKeys>>): readonly Problem[] {
  const unknown = Object.entries(through).filter(([, agent]) => !Object.hasOwn(agents, agent))
  const keys = Object.entries(agents).flatMap(([agent, { key, nextKey }]) => [
    { agent, at: 'key', key },
    ...(nextKey === undefined ? [] : [{ agent, at: 'nextKey', key: nextKey }]),
  ])
  const twice = keys.flatMap(({ agent, at, key }, i): Problem[] => {
    const first = keys.findIndex((other) => other.key === key)
    if (first === i) return []
    const words =
      keys[first]?.agent === agent
        ? 'this is its key already; leave it out until there is a new one'
        : `the agent ${keys[first]?.agent} has the same key; make each its own`
    return [{ path: ['agents', agent, at], words }]
  })
  return [
    ...unknown.map(([name, agent]) => ({
      path: ['backends', name, 'through'],
      words: `there is no agent called ${agent}; under agents: there are ${Object.keys(agents).join(', ') || 'none'}`,
    })),
    ...twice,
  ]
}

/** What an agent may prove itself by: two while one replaces the other. */
export type AgentKeys = { readonly key: string; readonly nextKey?: string | undefined }

function recordOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined
}

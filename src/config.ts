/** drover.yaml: one schema, secrets only by reference, and every mistake named with its path and the fix. */

import { type Document, parseDocument } from 'yaml'
import * as z from 'zod'
import { agentEntries, keptByTheAgent, takeThrough, throughProblems } from './agent/through-settings.ts'
import { containerdSettings } from './backends/containerd/settings.ts'
import { dockerSettings } from './backends/docker/settings.ts'
import { kubernetesSettings } from './backends/kubernetes/settings.ts'
import { rancher1Settings } from './backends/rancher1/settings.ts'
import { rancher2Settings } from './backends/rancher2/settings.ts'
import type { SettingsContext } from './backends/settings.ts'
import { swarmSettings } from './backends/swarm/settings.ts'
import { DroverError } from './core/errors.ts'
import { isRolloutVerb, rolloutVerbs } from './core/rollout.ts'
import { type Policy, type Rule, rights } from './core/rule.ts'
import { Secret } from './core/secret.ts'
import { facetNames, parseLabels } from './core/selector.ts'
import { splitWords } from './core/words.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
const duration = z
  .string()
  .regex(/^\d{1,6}(ms|s|m|h)$/, 'write a time like 20s, 5m or 500ms')
  .transform((text) => Number.parseInt(text, 10) * units[/[a-z]+$/.exec(text)![0] as keyof typeof units])
  .refine((ms) => ms >= 100 && ms <= 24 * 3_600_000, 'a time between 100ms and 24h')
const id = (pattern: RegExp, example: string) => z.string().regex(pattern, `ids, not names: write it like ${example}`)
const channel = id(/^[TE][A-Z0-9]+\/[CGD][A-Z0-9]+$/, 'T0123ABC/C0123ABC (team/channel)')
const name = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'lower case letters, digits, - and _')
const globs = z.array(z.string().min(1)).min(1)

/** Values that stand in every tutorial: refused wherever a secret is wanted (S31). */
const wellKnown = /^(change-?me.*|password\d*|secret|testp|admin|default|example|xxx+|todo|your-.*)$/i

/** `wrong` says what is wrong with a value that is there. */
export function secretOf(env: Environment, shortest: number, wrong: (value: string) => string | undefined = () => undefined) {
  return z
    .strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of an environment variable') })
    .transform((reference, context) => {
      const value = env[reference.env]?.trim()
      const problem =
        value === undefined || value === ''
          ? `the environment variable ${reference.env} is not set`
          : wellKnown.test(value)
            ? `${reference.env} holds a value that everybody knows; set a real one`
            : value.length < shortest
              ? `${reference.env} is shorter than ${shortest} characters`
              : prefixed(reference.env, wrong(value))
      if (problem) context.addIssue({ code: 'custom', message: problem })
      return new Secret(value ?? '')
    })
}

const prefixed = (name: string, problem: string | undefined) => (problem === undefined ? undefined : `${name} ${problem}`)

/** docs.slack.dev, "Tokens": bot tokens begin with xoxb-, app-level ones with xapp-; each is easily taken for the other. */
const notBotToken = (value: string) =>
  value.startsWith('xapp-') ? 'holds an app-level token; the bot token (xoxb-…) is under OAuth & Permissions' : undefined
const notAppToken = (value: string) =>
  value.startsWith('xapp-')
    ? undefined
    : 'does not hold an app-level token (xapp-…); make one under Basic Information, with the scope connections:write'

export const labels = z.string().transform((text, context) => {
  try {
    return parseLabels(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
    return []
  }
})

const command = z.string().transform((text, context) => {
  try {
    const words = splitWords(text).map((word) => word.text)
    if (words.length > 0) return words
    context.addIssue({ code: 'custom', message: 'a command pattern needs at least one word; "..." alone means any command' })
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
  }
  return []
})

/** What follows the word `rollout`; a verb that there is not would be a rule that never holds. */
const rollout = command.refine(([verb = '']) => verb === '...' || /[*?]/.test(verb) || isRolloutVerb(verb), {
  error: `begins with one of ${rolloutVerbs.join(', ')}; "..." alone means any`,
})

const rule = z
  .strictObject({
    id: name,
    effect: z.enum(['allow', 'deny']),
    who: z
      .strictObject({
        users: z.array(id(/^[TE][A-Z0-9]+\/[UW][A-Z0-9]+$/, 'T0123ABC/U0123ABC (team/user)')).min(1),
        groups: z.array(id(/^[TE][A-Z0-9]+\/S[A-Z0-9]+$/, 'T0123ABC/S0123ABC (team/user group)')).min(1),
        teams: z.array(id(/^[TE][A-Z0-9]+$/, 'T0123ABC (team)')).min(1),
        webhooks: z.array(name).min(1),
        cli: z.literal(true),
      })
      .partial()
      .default({}),
    channels: z.array(channel).min(1).optional(),
    triggers: z
      .array(z.enum(['slash', 'mention', 'button', 'webhook', 'api', 'cli']))
      .min(1)
      .optional(),
    targets: z
      .strictObject({ on: globs, name: globs, labels, ...Object.fromEntries(facetNames.map((facet) => [facet, globs])) })
      .partial()
      .optional(),
    commands: z.array(command).min(1).optional(),
    rollouts: z.array(rollout).min(1).optional(),
    /** New containers may be made from these: globs, in which a star reaches over `/` only as a last part of its own. */
    images: z
      .array(z.string().regex(/^[A-Za-z0-9*?._:/@-]+$/, 'an image or a glob, like alpine:3 or registry.example.com/tools/*'))
      .min(1)
      .optional(),
    /** Mounts of new containers, as `newContainers.mounts` of a backend names them. */
    mounts: z
      .array(z.string().regex(/^[a-z0-9*?_-]+$/, 'the name of a mount, or a glob'))
      .min(1)
      .optional(),
    rights: z.array(z.enum(rights)).optional(),
    limits: z
      .strictObject({ targets: z.int().min(1), timeout: duration })
      .partial()
      .optional(),
    reason: z.string().max(300).optional(),
  })
  .superRefine((value, context) => {
    if (value.effect === 'deny') return
    if (Object.values(value.who).every((part) => !part)) {
      context.addIssue({
        code: 'custom',
        path: ['who'],
        message: 'an allow rule has to say who: users, groups, teams, webhooks or cli',
      })
    }
    if (!value.commands && !value.rollouts)
      context.addIssue({
        code: 'custom',
        path: ['commands'],
        message: 'an allow rule has to say which commands, or which rollouts; "..." means any',
      })
    else if (value.images && !value.commands)
      context.addIssue({ code: 'custom', path: ['images'], message: 'images says where commands may run; say commands too' })
    if (value.mounts && !value.images)
      context.addIssue({ code: 'custom', path: ['mounts'], message: 'mounts are those of new containers; say images too' })
  })

const parameter = z.strictObject({
  /** RFC 6901 pointer into the JSON body. */
  pointer: z.string().regex(/^(\/[^/]*)+$/, 'a JSON pointer like /alert/host'),
  type: z.enum(['word', 'number', 'path', 'image']).optional(),
  oneOf: z.array(z.string().min(1).max(200)).min(1).optional(),
})

/** One entry for each kind: the folder of a backend says what it takes. */
function backend(context: SettingsContext) {
  return z.discriminatedUnion('kind', [
    rancher1Settings(context),
    rancher2Settings(context),
    kubernetesSettings(context),
    dockerSettings(),
    swarmSettings(),
    containerdSettings(),
  ])
}

function schema(env: Environment) {
  const secret = secretOf(env, 6)
  return z.strictObject({
    listen: z
      .strictObject({ host: z.string().default('127.0.0.1'), port: z.int().min(0).max(65_535).default(3000) })
      .prefault({}),
    ledger: z.strictObject({ path: z.string().min(1).default('drover.db') }).prefault({}),
    slack: z
      .strictObject({
        /** For requests over HTTP. */
        signingSecret: secretOf(env, 16).optional(),
        /** For Socket Mode: drover connects to Slack, and Slack needs no way in. */
        appToken: secretOf(env, 16, notAppToken).optional(),
        botToken: secretOf(env, 6, notBotToken),
        team: id(/^[TE][A-Z0-9]+$/, 'T0123ABC'),
        botUserId: id(/^[UW][A-Z0-9]+$/, 'U0123ABC').optional(),
        botId: id(/^B[A-Z0-9]+$/, 'B0123ABC').optional(),
        apiUrl: z.url().default(env.SLACK_API_URL ?? 'https://slack.com/api/'),
        command: z
          .string()
          .regex(/^\/[a-z0-9_-]{1,31}$/)
          .default('/exec'),
        rolloutCommand: z
          .string()
          .regex(/^\/[a-z0-9_-]{1,31}$/)
          .default('/rollout'),
        shareTo: z.array(id(/^[CG][A-Z0-9]+$/, 'C0123ABC')).default([]),
        allowGuests: z.boolean().default(false),
        allowTeams: z.array(id(/^[TE][A-Z0-9]+$/, 'T0123ABC')).default([]),
      })
      .refine(({ signingSecret, appToken }) => signingSecret !== undefined || appToken !== undefined, {
        error: 'say how Slack reaches drover: signingSecret for requests over HTTP, or appToken for Socket Mode',
      })
      .refine(({ command, rolloutCommand }) => command !== rolloutCommand, {
        error: 'command and rolloutCommand are the same; give each its own name',
      })
      .optional(),
    backends: z.record(name, backend({ secret })).default({}),
    /** Those that may connect here, by name; `through:` of a backend names one. */
    agents: agentEntries().default({}),
    rules: z.array(rule).default([]),
    hooks: z
      .record(
        name,
        z.strictObject({
          secrets: z.array(secretOf(env, 16)).min(1).max(2),
          channel,
          /** A thread's ts, or a pointer into the body where one stands. */
          thread: z.union([z.string().regex(/^\d{10}\.\d{6}$/), z.strictObject({ pointer: z.string() })]).optional(),
          request: z.string().min(1),
          parameters: z.record(z.string().regex(/^[a-z][a-z0-9_]*$/), parameter).default({}),
        }),
      )
      .default({}),
    limits: z
      .strictObject({
        targets: z.int().min(1).max(10_000).default(50),
        timeout: duration.prefault('60s'),
        maxTimeout: duration.prefault('15m'),
        parallel: z.int().min(1).max(256).default(16),
        /** Runs of one person or hook that may go on at a time. */
        runsPerActor: z.int().min(1).max(1000).default(32),
        handshakes: z.int().min(1).max(64).default(6),
        outputBytes: z
          .int()
          .min(4_096)
          .max(64 * 1024 * 1024)
          .default(2 * 1024 * 1024),
        runOutputBytes: z
          .int()
          .min(65_536)
          .max(1024 * 1024 * 1024)
          .default(32 * 1024 * 1024),
      })
      .prefault({}),
    /** Further values to mask wherever they appear. */
    mask: z.array(secret).default([]),
  })
}

type Parsed = z.output<ReturnType<typeof schema>>
/** `through`: the agent that reaches it. */
export type BackendConfig = Parsed['backends'][string] & { readonly through?: string }
export type Config = Omit<Parsed, 'backends'> & { readonly backends: Readonly<Record<string, BackendConfig>> }
export type HookConfig = Config['hooks'][string]

/**
 * Parses the text of a drover.yaml. Throws DroverError `config` that names `file`, each path that is wrong, and what to write.
 * `runtime`: what asks for something that it does not have is a mistake too.
 */
export function parseConfig(
  text: string,
  file: string,
  env: Environment,
  runtime: { readonly socketMode: boolean } = { socketMode: true },
): Config {
  const { document, through, problems } = takeThrough(readYaml(text, file))
  if (problems.length > 0) throw problem(file, problems)
  const parsed = schema({ ...env, ...keptByTheAgent }).safeParse(document)
  if (!parsed.success) throw problem(file, parsed.error.issues.map(describe))
  const [astray] = throughProblems(through, parsed.data.agents)
  if (astray) throw problem(file, [astray])
  if (parsed.data.slack?.appToken && !runtime.socketMode) {
    throw problem(file, [
      'slack.appToken: Socket Mode needs a process that stays connected, and Workers has none; leave it out, set slack.signingSecret, and give Slack the request URL',
    ])
  }
  const ids = parsed.data.rules.map((one) => one.id)
  const twice = ids.find((one, i) => ids.indexOf(one) < i)
  if (twice) throw problem(file, [`rules: the id ${twice} is used twice`])
  const keys = Object.values(parsed.data.hooks).map((hook) => hook.secrets.map((secret) => secret.reveal()))
  const shared = keys.some((one, i) => keys.slice(i + 1).some((other) => other.some((key) => one.includes(key))))
  // A signature does not name its hook: with one key, a request for one hook would be good for the other.
  if (shared) throw problem(file, ['hooks: two hooks have the same secret; give each its own'])
  for (const hook of new Set(parsed.data.rules.flatMap((one) => one.who.webhooks ?? []))) {
    if (!Object.hasOwn(parsed.data.hooks, hook)) throw problem(file, [`rules: there is no hook called ${hook}`])
  }
  const backends = Object.entries(parsed.data.backends).map(([key, one]) => {
    const agent = Object.hasOwn(through, key) ? through[key] : undefined
    return [key, agent === undefined ? one : { ...one, through: agent }] as const
  })
  return { ...parsed.data, backends: Object.fromEntries(backends) }
}

/** As `parseConfig`, for a file of another shape. */
export function parseYaml<T>(text: string, file: string, shape: z.ZodType<T>): T {
  const parsed = shape.safeParse(readYaml(text, file))
  if (!parsed.success) throw problem(file, parsed.error.issues.map(describe))
  return parsed.data
}

function readYaml(text: string, file: string): unknown {
  if (text.length > 1_000_000) throw problem(file, ['the file is larger than 1 MB'])
  const document = parseDocument(text, { schema: 'core', customTags: [], uniqueKeys: true, prettyErrors: true })
  if (document.errors.length > 0)
    throw problem(
      file,
      document.errors.map((error) => error.message),
    )
  return dataOf(document, file) ?? {}
}

/** What the YAML says, with few aliases: a configuration is data, and small (S30). */
function dataOf(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 20 })
  } catch (error) {
    throw problem(file, [error instanceof Error ? error.message : String(error)])
  }
}

function describe(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String).join('.') || 'the file'
  if (issue.code === 'unrecognized_keys') return `${path}: unknown key ${issue.keys.join(', ')}; check the spelling`
  if (/secret|token|key$/i.test(path) && issue.code === 'invalid_type')
    return `${path}: write { env: NAME_OF_A_VARIABLE }; secrets never stand in the file`
  if (issue.code === 'invalid_union')
    return `${path}: ${issue.errors
      .flat()
      .map((one) => one.message)
      .join(', or ')}`
  return `${path}: ${issue.message}`
}

function problem(file: string, lines: readonly string[]): DroverError {
  return new DroverError({
    code: 'config',
    message: `${file} has ${lines.length === 1 ? 'a mistake' : `${lines.length} mistakes`}:\n${lines.map((line) => `  - ${line}`).join('\n')}`,
    next: 'Correct it and start again.',
  })
}

/** The rules as the core judges them, with the version that decisions are recorded under. */
export async function policyOf(config: Pick<Config, 'rules'>): Promise<Policy> {
  const rules = config.rules.map(({ targets, limits, who, ...rest }): Rule => {
    const { on, name: names, labels: terms, ...facets } = targets ?? {}
    return compact({
      ...rest,
      who: compact(who),
      targets: targets && compact({ on, name: names, labels: terms, facets: compact(facets) }),
      limits: limits && compact({ maxTargets: limits.targets, timeoutMs: limits.timeout }),
    }) as Rule
  })
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(JSON.stringify(rules))))
  return { rules, version: Array.from(digest.slice(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join('') }
}

function compact(object: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}

/** Of a key in two parts, `token-x7k2p:secret`, the second is as secret alone. */
function partsOf(value: string): readonly string[] {
  const second = /^[^:\s]+:([^:\s]{16,})$/.exec(value)?.[1]
  return second === undefined ? [value] : [value, second]
}

/** Every secret of the configuration, for masking. */
export function secretsOf(config: Config): readonly string[] {
  const found: string[] = []
  const walk = (value: unknown): void => {
    if (value instanceof Secret) found.push(...partsOf(value.reveal()))
    else if (typeof value === 'object' && value !== null) Object.values(value).forEach(walk)
  }
  walk(config)
  return found
}

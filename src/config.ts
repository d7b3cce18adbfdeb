/** drover.yaml: one schema, secrets only by reference, and every mistake named with its line and the fix. */

import * as z from 'zod'
import { agentEntries, keptByTheAgent, takeThrough, throughProblems } from './agent/through-settings.ts'
import { containerdSettings } from './backends/containerd/settings.ts'
import { dockerSettings } from './backends/docker/settings.ts'
import { kubernetesSettings } from './backends/kubernetes/settings.ts'
import { rancher1Settings } from './backends/rancher1/settings.ts'
import { rancher2Settings } from './backends/rancher2/settings.ts'
import type { SettingsContext } from './backends/settings.ts'
import { swarmSettings } from './backends/swarm/settings.ts'
import { type Path, readDocument, type Source } from './config/document.ts'
import { mistakesOf, nearestOf, placed, refusal, wordsOf } from './config/mistakes.ts'
import { rule } from './config/rules.ts'
import { channel, duration, type Environment, id, name, secretOf, secretsIn, team } from './config/words.ts'
import { matchesGlob } from './core/selector.ts'

export { labels, policyOf } from './config/rules.ts'
export { type Environment, secretOf } from './config/words.ts'

/** docs.slack.dev, "Tokens": bot tokens begin with xoxb-, app-level ones with xapp-; each is easily taken for the other. */
const notBotToken = (value: string) =>
  value.startsWith('xapp-') ? 'holds an app-level token; the bot token (xoxb-…) is under OAuth & Permissions' : undefined
const notAppToken = (value: string) =>
  value.startsWith('xapp-')
    ? undefined
    : 'does not hold an app-level token (xapp-…); make one under Basic Information, with the scope connections:write'

const SLASH = 'a slash command as the app’s settings have it, like /exec: small letters, digits, - and _'
const slashCommand = z.string(SLASH).regex(/^\/[a-z0-9_-]{1,31}$/, SLASH)

const POINTER = 'a JSON pointer into the body, like /alert/host'
const pointer = z.string(POINTER).regex(/^(\/[^/]*)+$/, POINTER)
const THREAD = 'the ts of a message, like "1712345678.000100" in quotes, or { pointer: /alert/thread } where the body has one'

const parameter = z.strictObject({
  /** RFC 6901 pointer into the JSON body. */
  pointer,
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

/** What may stand in the file; secrets come from `env`. */
export function schema(env: Environment) {
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
        team,
        botUserId: id(/^[UW][A-Z0-9]+$/, 'U0123ABC').optional(),
        botId: id(/^B[A-Z0-9]+$/, 'B0123ABC').optional(),
        apiUrl: z
          .url('the address of Slack’s API, like https://slack.com/api/')
          .default(env.SLACK_API_URL ?? 'https://slack.com/api/'),
        command: slashCommand.default('/exec'),
        rolloutCommand: slashCommand.default('/rollout'),
        shareTo: z.array(id(/^[CG][A-Z0-9]+$/, 'C0123ABC')).default([]),
        allowGuests: z.boolean().default(false),
        allowTeams: z.array(team).default([]),
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
          thread: z.union([z.string().regex(/^\d{10}\.\d{6}$/, THREAD), z.strictObject({ pointer })], THREAD).optional(),
          request: z.string().min(1),
          parameters: z.record(z.string().regex(/^[a-z][a-z0-9_]*$/, 'small letters, digits and _'), parameter).default({}),
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

type Circumstances = {
  /** Absent: yes. What asks for something that the runtime does not have is a mistake too. */
  readonly socketMode?: boolean
  /** Nobody wrote it as YAML: its lines say nothing. */
  readonly isMade?: boolean
}

/** Parses the text of a drover.yaml. Throws DroverError `config` that names `file`, each place that is wrong, and what to write. */
export function parseConfig(
  text: string,
  file: string,
  env: Environment,
  { socketMode = true, isMade = false }: Circumstances = {},
): Config {
  const read = sourceOf(text, file)
  const source = isMade ? { ...read, spotOf: () => undefined } : read
  const { document, through, problems, keysAt } = takeThrough(source.data)
  const refuse = (found: readonly Problem[]) => {
    if (found.length > 0) throw refusal(file, placed(found, source))
  }
  refuse(problems)
  const parsed = schema({ ...env, ...keptByTheAgent }).safeParse(document, { error: wordsOf })
  if (!parsed.success) throw refusal(file, mistakesOf(parsed.error, source, keysAt))
  refuse([...throughProblems(through, parsed.data.agents), ...problemsOf(parsed.data, socketMode)])
  const backends = Object.entries(parsed.data.backends).map(([key, one]) => {
    const agent = Object.hasOwn(through, key) ? through[key] : undefined
    return [key, agent === undefined ? one : { ...one, through: agent }] as const
  })
  return { ...parsed.data, backends: Object.fromEntries(backends) }
}

type Problem = { readonly path: Path; readonly words: string }

const MUTE = 'a hook’s answer goes to its channel in Slack, and no Slack is configured: configure slack:, or take the hooks out'

/** Mistakes that only the whole file shows. */
function problemsOf({ slack, backends, rules, hooks }: Parsed, socketMode: boolean): readonly Problem[] {
  const twice = rules.flatMap((one, i): Problem[] => {
    const first = rules.findIndex((other) => other.id === one.id)
    return first === i ? [] : [{ path: ['rules', i, 'id'], words: `rule ${first + 1} has this id, too; give each its own` }]
  })
  // A signature does not name its hook: with one key, a request for one hook would be good for the other.
  const keys = Object.entries(hooks).map(([hook, { secrets }]) => ({ hook, keys: secrets.map((secret) => secret.reveal()) }))
  const shared = keys.flatMap(({ hook, keys: own }, i): Problem[] => {
    const other = keys.slice(0, i).find((one) => one.keys.some((key) => own.includes(key)))
    return other
      ? [{ path: ['hooks', hook, 'secrets'], words: `the hook ${other.hook} has the same secret; give each its own` }]
      : []
  })
  const strangers = rules.flatMap(({ who }, i) =>
    unmet(who.webhooks, Object.keys(hooks), ['rules', i, 'who', 'webhooks'], 'hook', 'under hooks: there are'),
  )
  // What is nowhere is forbidden nowhere: a deny with a slip of the finger in it would never hold.
  const mounts = Object.values(backends).flatMap((one) => Object.keys(mountsIn(one)))
  const nowhere = rules.flatMap(({ targets, mounts: named }, i): readonly Problem[] => [
    ...unmet(targets?.on, Object.keys(backends), ['rules', i, 'targets', 'on'], 'backend', 'backends here:'),
    ...unmet(named, mounts, ['rules', i, 'mounts'], 'mount', 'mounts here:'),
    ...((targets as { workload?: readonly string[] } | undefined)?.workload ?? []).flatMap((glob, n): Problem[] =>
      /[/*?]/.test(glob)
        ? []
        : [
            {
              path: ['rules', i, 'targets', 'workload', n],
              words: 'a workload is called by its kind and name, like deployment/api, or stack/service',
            },
          ],
    ),
  ])
  const mute: Problem[] = Object.keys(hooks).length > 0 && !slack ? [{ path: ['hooks'], words: MUTE }] : []
  const workers =
    'Socket Mode needs a process that stays connected, and Workers has none; leave it out, set slack.signingSecret, and give Slack the request URL'
  return [
    ...(slack?.appToken && !socketMode ? [{ path: ['slack', 'appToken'], words: workers }] : []),
    ...twice,
    ...mute,
    ...shared,
    ...strangers,
    // Rules without any backend are a part of a file.
    ...(Object.keys(backends).length === 0 ? [] : nowhere),
  ]
}

const mountsIn = (one: Parsed['backends'][string]): object =>
  (one.kind === 'docker' || one.kind === 'containerd' ? one.newContainers?.mounts : undefined) ?? {}

/** Of what a rule names, what means none of what there is. */
function unmet(
  globs: readonly string[] = [],
  names: readonly string[],
  path: Path,
  what: string,
  intro: string,
): readonly Problem[] {
  return globs.flatMap((glob, n) =>
    names.some((one) => matchesGlob(glob, one))
      ? []
      : [{ path: [...path, n], words: `there is no ${what} called ${glob}; ${nearestOf(glob, names, intro)}` }],
  )
}

/** As `parseConfig`, for a file of another shape. */
export function parseYaml<T>(text: string, file: string, shape: z.ZodType<T>): T {
  const source = sourceOf(text, file)
  const parsed = shape.safeParse(source.data, { error: wordsOf })
  if (!parsed.success) throw refusal(file, mistakesOf(parsed.error, source))
  return parsed.data
}

function sourceOf(text: string, file: string): Source {
  const read = readDocument(text)
  if (!read.ok) throw refusal(file, read.mistakes)
  return read.source
}

/** Every secret of the configuration, for masking. */
export const secretsOf = (config: Config): readonly string[] => secretsIn(config)

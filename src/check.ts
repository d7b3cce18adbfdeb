/** `drover check` and `drover agent --check`: the configuration, each backend, the agents and Slack, each asked what it says of itself. */

import { styleText } from 'node:util'
import { type Outside as BesideOutside, engineOf } from './agent/engine.ts'
import { loopback } from './agent/loopback.ts'
import type { AgentConfig } from './agent.ts'
import { type Config, type HookConfig, parseConfig } from './config.ts'
import { counted } from './core/counted.ts'
import { BackendError, DroverError } from './core/errors.ts'
import type { Backend, CheckLine } from './core/ports.ts'
import { checkSlack, checkSlackWay } from './frontends/slack/check.ts'
import { EVENT_SCOPES, SLACK_METHODS } from './frontends/slack/methods.ts'
import { formatCheck } from './frontends/terminal/check-lines.ts'
import { hookOf, prepareHook } from './frontends/webhook/hooks.ts'
import { kindsOf } from './kinds.ts'
import { agentsElsewhere, outsideOf } from './local.ts'
import { createBackends } from './rooms.ts'

const backendMs = 30_000

/** `gateway`: where agents connect to; as `listen:` says without it. */
export async function checkAll(
  config: Config,
  file: string | undefined,
  gateway: string | undefined,
): Promise<readonly CheckLine[]> {
  return [
    { ok: true, what: 'configuration', detail: file ?? 'from the command line and environment' },
    ...ofRules(config),
    ...(await ofBackends(config)),
    ...(await ofAgents(config, gateway)),
    ...(await ofSlack(config)),
  ]
}

function ofRules({ rules, hooks }: Config): readonly CheckLine[] {
  const none: CheckLine = {
    ok: 'warn',
    what: 'rules',
    detail: 'none: nobody may run anything',
    next: 'Write a rule: drover.example.yaml and docs/policy.md have some to begin with.',
  }
  return [...(rules.length === 0 ? [none] : []), ...Object.entries(hooks).flatMap(([name, hook]) => ofHook(name, hook))]
}

/** What a start would refuse, and what is half done. */
function ofHook(name: string, hook: HookConfig): readonly CheckLine[] {
  const what = `hook ${name}`
  const twoSecrets: CheckLine = {
    ok: 'warn',
    what,
    detail: 'two secrets are good for it',
    next: 'When its sender signs with the new one, take the old one out of secrets: and start the gateway again.',
  }
  const two = hook.secrets.length > 1 ? [twoSecrets] : []
  try {
    prepareHook(name, hookOf(hook))
    return two
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    return [{ ok: false, what, detail: error.message, ...(error.next === undefined ? {} : { next: error.next }) }, ...two]
  }
}

async function ofBackends(config: Config): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  for (const backend of createBackends(config, { ...(await outsideOf(config)), agents: agentsElsewhere })) {
    if (config.backends[backend.name]?.through !== undefined) continue
    const found = await backend.check(AbortSignal.timeout(backendMs))
    lines.push(...found.map((line) => ({ ...line, what: `${backend.name}: ${line.what}` })))
  }
  return lines
}

async function ofAgents(config: Config, gateway: string | undefined): Promise<readonly CheckLine[]> {
  if (Object.keys(config.agents).length === 0) return []
  const { checkAgents } = await import('./agent/check.ts')
  const { host, port } = config.listen
  return await checkAgents(config, gateway?.replace(/\/+$/, '') ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`)
}

async function ofSlack({ slack, hooks }: Config): Promise<readonly CheckLine[]> {
  if (!slack) return []
  const needed = [...new Set([...EVENT_SCOPES, ...Object.values(SLACK_METHODS).flatMap(({ scopes }) => [...scopes])])]
  const channels = {
    hooks: Object.fromEntries(Object.entries(hooks).map(([name, { channel }]) => [name, channel])),
    shareTo: slack.shareTo,
    allowTeams: slack.allowTeams,
  }
  return [
    ...(await checkSlack({
      apiUrl: slack.apiUrl,
      token: slack.botToken.reveal(),
      team: slack.team,
      needed,
      channels,
    })),
    ...(await checkSlackWay({
      apiUrl: slack.apiUrl,
      signingSecret: slack.signingSecret !== undefined,
      appToken: slack.appToken?.reveal(),
      commands: [slack.command, slack.rolloutCommand],
    })),
  ]
}

/** What an agent's engine says through the agent's own list, as the gateway will hear it. */
export async function checkBeside({ settings, key }: AgentConfig, outside: BesideOutside): Promise<readonly CheckLine[]> {
  const { name, engine } = settings
  const { address, ...beside } = engineOf(settings, outside)
  const way = loopback(name, beside)
  // Here the engine has its own address, and there is no agent between.
  const asHere = (text: string) => text.replaceAll(`https://${name}.agent`, address).replaceAll(`the agent ${name}: `, '')
  const config = parseConfig(
    JSON.stringify({
      agents: { [name]: { key: key.publicKey } },
      backends: { [name]: { kind: engine.kind, through: name, ...asTheGatewaySays(engine) } },
    }),
    'The agent’s own file',
    {},
    { isMade: true },
  )
  const kinds = await kindsOf(config, outside.machine, () => {})
  const [backend] = createBackends(config, { ...outside, ...kinds, agents: () => way })
  if (!backend) throw new Error('one was configured')
  const found = await backend.check(AbortSignal.timeout(backendMs))
  const all = found.some(({ ok }) => ok === false) ? found : [...found, await whatPasses(backend, settings)]
  return all.map(({ what, detail, ...line }) => ({
    ...line,
    what: asHere(what),
    ...(detail === undefined ? {} : { detail: asHere(detail) }),
  }))
}

/** What of an agent's `engine:` stands in the gateway's file, too. */
function asTheGatewaySays(engine: AgentConfig['settings']['engine']): object {
  switch (engine.kind) {
    case 'docker':
    case 'swarm':
      return {}
    case 'containerd':
      return { api: engine.api }
    case 'kubernetes':
      return { namespaces: engine.namespaces, allNamespaces: engine.allNamespaces }
    case 'rancher1':
      return { project: engine.project }
    case 'rancher2':
      return { cluster: engine.cluster, project: engine.project, namespaces: engine.namespaces }
    default:
      return engine satisfies never
  }
}

async function whatPasses(backend: Backend, { engine, allow }: AgentConfig['settings']): Promise<CheckLine> {
  const where = allow === undefined || 'rollout' in allow ? `engine: of ${engine.kind}` : 'allow:'
  try {
    const { length } = await backend.list({}, AbortSignal.timeout(backendMs))
    if (length > 0) return { ok: true, what: `its list lets ${counted(length, 'container')} through` }
    const next = `Compare ${where} in its file with the names and labels of what runs.`
    return { ok: 'warn', what: 'its list lets no container through that runs now', next }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    const { message, next } = error
    return { ok: false, what: 'the containers cannot be listed', detail: message, ...(next === undefined ? {} : { next }) }
  }
}

/** As people read it on a terminal. */
export function printChecks(found: readonly CheckLine[]): void {
  for (const line of onceEach(found)) console.log(formatCheck(line, styleText))
}

/** A remedy of many lines, a Role for example, that mends several findings stands after the last of them. */
function onceEach(found: readonly CheckLine[]): readonly CheckLine[] {
  return found.map((line, i) => {
    const isLong = line.next?.includes('\n') ?? false
    const comesAgain = found.slice(i + 1).some((later) => later.ok !== true && later.next === line.next)
    return isLong && comesAgain ? { ...line, next: 'What mends it stands below.' } : line
  })
}

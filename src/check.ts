/** `drover check`: the configuration, each backend, the agents and Slack, each asked what it says of itself. */

import type { Config } from './config.ts'
import type { CheckLine } from './core/ports.ts'
import { checkSlack, checkSlackWay } from './frontends/slack/check.ts'
import { EVENT_SCOPES, SLACK_METHODS } from './frontends/slack/methods.ts'
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

function ofRules({ rules, hooks, slack }: Config): readonly CheckLine[] {
  const none: CheckLine = {
    ok: 'warn',
    what: 'rules',
    detail: 'none: nobody may run anything',
    next: 'Write a rule: drover.example.yaml and docs/policy.md have some to begin with.',
  }
  const mute: CheckLine = {
    ok: false,
    what: 'hooks',
    detail: 'their answers go to channels of Slack, and no Slack is configured',
    next: 'Configure slack:, or take the hooks out.',
  }
  return [...(rules.length === 0 ? [none] : []), ...(Object.keys(hooks).length > 0 && !slack ? [mute] : [])]
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

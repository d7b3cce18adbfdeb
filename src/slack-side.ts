/** What answers in Slack and asks it about people: the reporter and the directory, over one client. */

import type { Config } from './config.ts'
import type { Directory, Reporter } from './core/ports.ts'
import type { Redactor } from './core/redact.ts'
import { createSlackClient } from './frontends/slack/client.ts'
import { createSlackDirectory } from './frontends/slack/directory.ts'
import { createSlackReporter } from './frontends/slack/reporter.ts'
import type { Log } from './rooms.ts'

export function createSlackSide(
  slack: NonNullable<Config['slack']>,
  redactor: Redactor,
  log: Log,
): { readonly reporter: Reporter; readonly directory: Directory } {
  const client = createSlackClient({ token: slack.botToken.reveal(), apiUrl: slack.apiUrl })
  return {
    reporter: createSlackReporter(client, { shareTo: slack.shareTo, redactor, log: (event) => log({ ...event }) }),
    directory: createSlackDirectory(client, { teamId: slack.team, allowGuests: slack.allowGuests, allowTeams: slack.allowTeams }),
  }
}

/** A gateway on workerd with a pretend Slack before it, and what it answers there. */

import { expect } from 'vitest'
import { type SlackPeer, startSlackPeer } from '../../src/playground/slack/peer.ts'
import { until } from '../e2e/scenario.ts'
import { startWorker } from '../e2e/wrangler.ts'

export type WorkerChat = {
  readonly slack: SlackPeer
  readonly url: string
  /** `/exec` by Alex in #ops: everything that was said in its thread, once the run is over. */
  run(text: string): Promise<string>
  stop(): Promise<void>
}

/** `config`: what drover.yaml has besides `slack:`. */
export async function startWorkerChat(config: string): Promise<WorkerChat> {
  const slack = await startSlackPeer({ rateLimits: false })
  const section = `
slack:
  signingSecret: { env: SLACK_SIGNING_SECRET }
  botToken: { env: SLACK_BOT_TOKEN }
  team: ${slack.teamId}
  botUserId: ${slack.botUserId}
  botId: ${slack.botId}
  apiUrl: ${slack.apiUrl}
`
  const secrets = { SLACK_SIGNING_SECRET: slack.signingSecret, SLACK_BOT_TOKEN: slack.botToken }
  const drover = await startWorker(`${section}${config.trimStart()}`, secrets)
  await slack.connect(`${drover.url}/slack/events`)
  const parents = () => slack.messages('C0OPS').filter((message) => message.user === slack.botUserId)
  return {
    slack,
    url: drover.url,
    async run(text) {
      const before = parents().length
      expect((await slack.slash('U0ALEX', 'C0OPS', text)).status).toBe(200)
      const parent = await until(() => {
        const found = parents()[before]
        return found && /drover:again/.test(JSON.stringify(found.blocks)) ? found : undefined
      }, 90_000)
      // What is told in the first message alone has no thread.
      await until(() => slack.thread('C0OPS', parent.ts).length > 1 || undefined, 10_000).catch(() => {})
      const thread = slack.thread('C0OPS', parent.ts)
      return thread.map((message) => `${message.text}\n${JSON.stringify(message.blocks ?? [])}`).join('\n')
    },
    async stop() {
      await drover.stop()
      await slack.close()
    },
  }
}

/** Bolt as its documentation starts it: its own HTTPReceiver, and a listener that acknowledges. Nothing is kept. */

import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import bolt from '@slack/bolt'

const { App, HTTPReceiver, LogLevel } = bolt
const receiver = new HTTPReceiver({
  signingSecret: process.env.SLACK_SIGNING_SECRET ?? '',
  endpoints: '/slack/events',
  logLevel: LogLevel.ERROR,
})
const app = new App({
  receiver,
  authorize: async () => ({ botToken: 'xoxb-of-the-bench', botId: 'B0DROVER', botUserId: 'U0DROVER' }),
  logLevel: LogLevel.ERROR,
  convoStore: false,
})
app.command('/exec', async ({ ack }) => {
  await ack()
})
const server = (await app.start({ host: '127.0.0.1', port: 0 })) as Server
console.log(JSON.stringify({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }))

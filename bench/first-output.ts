/** From the signed request to the first output in its thread, on each runtime: what a person waits for. */

import { type SlackPeer, startSlackPeer } from '../src/playground/slack/peer.ts'
import { bareRun } from './bare.ts'
import { doorNames, startDrover } from './doors.ts'
import { signingSecret } from './load.ts'
import { here } from './places.ts'
import { onNode, pause, startServer } from './processes.ts'
import { against, type Bench, quantile, type Row } from './rows.ts'

export const firstOutput: Bench = {
  name: 'first-output',
  async run({ quick, say }) {
    const rancher = await startServer(onNode(here('servers/rancher.ts')), {})
    const slack = await startSlackPeer({ rateLimits: false, signingSecret })
    const rows: Row[] = []
    for (const door of doorNames) {
      say(`first output on ${door}`)
      const drover = await startDrover(door, { slackApi: slack.apiUrl, botToken: slack.botToken, rancher: rancher.url })
      slack.connect(`${drover.url}/slack/events`)
      for (const channel of channels) await once(slack, channel)
      const times: number[] = []
      const floor: number[] = []
      for (let i = 0; i < (quick ? 4 : 8); i++) {
        times.push(await once(slack, channels[i % 2] ?? ''))
        floor.push(await bare(slack, rancher.url))
      }
      await drover.stop()
      for (const [what, at] of [
        ['p50', 0.5],
        ['p95', 0.95],
      ] as const)
        rows.push(
          against(
            { name: `signed request to first output in the thread, ${door}, ${what}`, value: quantile(times, at), unit: 'ms' },
            { name: 'bare protocol and one message', value: quantile(floor, at) },
          ),
        )
    }
    await slack.close()
    await rancher.stop()
    return rows
  },
}

const channels = ['C0OPS', 'C0INC123']

async function once(slack: SlackPeer, channel: string): Promise<number> {
  const before = new Set(slack.messages(channel).map(({ ts }) => ts))
  const begin = performance.now()
  const first = new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no output within 20 s')), 20_000)
    const stop = slack.on('change', () => {
      const parent = slack.messages(channel).find(({ ts }) => !before.has(ts))
      if (!parent || slack.thread(channel, parent.ts).length < 2) return
      clearTimeout(timer)
      stop()
      resolve(performance.now() - begin)
    })
  })
  const delivery = await slack.slash('U0ALEX', channel, 'name=bench-1 -- bench ok')
  if (delivery.status !== 200) throw new Error(`the command was answered with ${delivery.status}`)
  const took = await first
  // Slack takes one message a second in a channel, and drover keeps to it: each of the two gets the two of a run in as many.
  await pause(1_200)
  return took
}

async function bare(slack: SlackPeer, url: string): Promise<number> {
  const begin = performance.now()
  await bareRun({ url, count: 1, parallel: 1, command: ['bench', 'ok'] })
  await fetch(`${slack.apiUrl}chat.postMessage`, {
    method: 'POST',
    headers: { authorization: `Bearer ${slack.botToken}`, 'content-type': 'application/json; charset=utf-8' },
    body: JSON.stringify({ channel: 'C0INC123', text: 'ok' }),
  }).then((response) => response.text())
  return performance.now() - begin
}

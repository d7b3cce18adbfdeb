/** The contract of frontends, for slash commands and mentions in Slack. */

import { frontendContract } from '../../contract/frontend.ts'
import { seen, startBench } from './bench.ts'

async function start(trigger: 'slash' | 'mention') {
  const bench = await startBench()
  const asker = () => bench.peer.ephemerals('U0ALEX').map(seen).join('\n')
  const all = () =>
    bench.peer.messages('C0OPS').flatMap(({ ts }) => bench.peer.thread('C0OPS', ts).filter(({ botId }) => botId !== undefined))
  return {
    reporter: bench.reporter,
    async ask() {
      const first = await bench.peer[trigger]('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
      return {
        again: async () => {
          await bench.peer.resend(first, trigger === 'mention' ? 1 : undefined)
        },
      }
    },
    submitted: bench.memory.requests,
    shown: async () => ({ everybody: all().map(seen).join('\n'), asker: asker() }),
    count: async () => all().length + bench.peer.files.length,
    losePost: () => bench.peer.faults.drop('chat.postMessage', { times: 1, afterAccept: false }),
    close: bench.close,
  }
}

frontendContract('slack slash command', () => start('slash'), { refusalsArePrivate: true })
frontendContract('slack mention', () => start('mention'), { refusalsArePrivate: true })

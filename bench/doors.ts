/** The three doors of drover, started as an operator starts them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { signingSecret } from './load.ts'
import { root } from './places.ts'
import { onDeno, onNode, type Server, startServer, startWorker } from './processes.ts'

export type DoorName = 'Node' | 'Deno' | 'workerd'
export const doorNames: readonly DoorName[] = ['Node', 'Deno', 'workerd']

export type DoorOptions = {
  /** `…/api/`, and the token it takes. */
  readonly slackApi: string
  readonly botToken?: string
  readonly rancher: string
  /** Where Node keeps what it has compiled; a folder of its own without it. */
  readonly home?: string
}

const secrets = (options: DoorOptions) => ({
  SLACK_SIGNING_SECRET: signingSecret,
  SLACK_BOT_TOKEN: options.botToken ?? 'xoxb-of-the-bench-0123456789',
  RANCHER_KEY: 'a-key-of-the-bench-0123456789',
})

const configText = ({ slackApi, rancher }: DoorOptions) =>
  JSON.stringify({
    slack: {
      signingSecret: { env: 'SLACK_SIGNING_SECRET' },
      botToken: { env: 'SLACK_BOT_TOKEN' },
      team: 'T0PLAY',
      botUserId: 'U0DROVER',
      botId: 'B0DROVER',
      apiUrl: slackApi,
    },
    backends: {
      bench: {
        kind: 'rancher1',
        url: `${rancher}/v2-beta`,
        accessKey: { env: 'RANCHER_KEY' },
        secretKey: { env: 'RANCHER_KEY' },
      },
    },
    rules: [
      {
        id: 'bench',
        effect: 'allow',
        who: { users: ['T0PLAY/U0ALEX'] },
        channels: ['T0PLAY/C0OPS', 'T0PLAY/C0INC123'],
        commands: ['...'],
      },
    ],
    limits: { runsPerActor: 1000 },
  })

export async function startDrover(door: DoorName, options: DoorOptions, ledger?: ':memory:'): Promise<Server> {
  if (door === 'workerd')
    return await startWorker(root('wrangler.toml'), { ...secrets(options), DROVER_CONFIG: configText(options) })
  const folder = mkdtempSync(join(tmpdir(), 'drover-bench-door-'))
  const file = join(folder, 'drover.yaml')
  const local = { listen: { port: 0 }, ledger: { path: ledger ?? join(folder, 'drover.db') } }
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(configText(options)) as object), ...local }))
  const command = door === 'Node' ? onNode(root('bin/drover.js'), 'serve') : onDeno(root('src/deno.ts'))
  const server = await startServer(command, { ...secrets(options), DROVER_CONFIG: file, HOME: options.home ?? folder })
  return {
    ...server,
    async stop() {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

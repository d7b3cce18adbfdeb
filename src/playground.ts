/** The playground's door: a pretend Slack, a pretend Rancher 1.x and Kubernetes, and a real gateway between them, on loopback. */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { type HttpBindings, serve } from '@hono/node-server'
import { Hono } from 'hono'
import { type Config, parseConfig } from './config.ts'
import { DroverError } from './core/errors.ts'
import { jsonLog, type Local } from './local.ts'
import { type Peers, peersYaml, playgroundYaml } from './playground/drover-yaml.ts'
import { IMAGES, startDefaultCluster } from './playground/kubernetes/default-world.ts'
import { examples } from './playground/page/examples.ts'
import { type Bench, createFaultMenu, createProtocol, playgroundPage, type RunBook } from './playground/page/server.ts'
import { startRancherPeer } from './playground/rancher/peer.ts'
import { startSlackPeer } from './playground/slack/peer.ts'
import { startServing } from './serving.ts'

function variables({ slack, rancher, kube }: Peers): Readonly<Record<string, string>> {
  return {
    CATTLE_URL: `${rancher.url}/v2-beta`,
    CATTLE_ACCESS_KEY: rancher.environmentKey.accessKey,
    CATTLE_SECRET_KEY: rancher.environmentKey.secretKey,
    KUBE_SERVER: kube.url,
    KUBE_TOKEN: kube.token('exec-user'),
    SLACK_API_URL: slack.apiUrl,
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_APP_TOKEN: slack.appToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
  }
}

type Play = Peers & { close(): Promise<void> }

async function startPeers(args: readonly string[], requestUrl?: string): Promise<Play> {
  const docker = args.includes('--docker')
    ? await (await import('./playground/rancher/engine-docker.ts')).dockerEngine().catch((error: unknown) => {
        throw new DroverError(
          { code: 'config', message: error instanceof Error ? error.message : String(error) },
          { cause: error },
        )
      })
    : undefined
  const [rancher, kube, slack] = await Promise.all([
    startRancherPeer(docker ? { engine: docker } : {}),
    startDefaultCluster(),
    startSlackPeer(),
  ])
  if (requestUrl) slack.connect(requestUrl)
  return {
    slack,
    rancher,
    kube,
    async close() {
      await Promise.all([slack.close(), rancher.close(), kube.close()])
      await docker?.close()
    },
  }
}

/** Listens on loopback. The port: 3000, or `PORT`; without `PORT`, the next free one when 3000 is taken. */
type Answer = (request: Request, bindings: HttpBindings) => Response | Promise<Response>

async function listen(fetch: Answer): Promise<{ readonly port: number; close(): Promise<void> }> {
  const wanted = Number(process.env.PORT ?? 3000)
  const attempt = (port: number) =>
    new Promise<{ port: number; close(): Promise<void> }>((resolve, reject) => {
      const server = serve(
        { fetch: (request, bindings) => fetch(request, bindings as HttpBindings), hostname: '127.0.0.1', port },
        (info) =>
          resolve({
            port: info.port,
            close: () =>
              new Promise((done) => {
                server.close(() => done())
                if ('closeAllConnections' in server) server.closeAllConnections()
              }),
          }),
      )
      server.once('error', reject)
    })
  return attempt(wanted).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EADDRINUSE' && process.env.PORT === undefined) return attempt(0)
    throw new DroverError(
      { code: 'config', message: `Cannot listen on port ${wanted}: ${cause.message}.`, next: 'Set PORT to a free one.' },
      { cause },
    )
  })
}

export type Playground = Play & {
  readonly url: string
  readonly pageUrl: string
  readonly hookSecret: string
  readonly config: Config
}

export async function startPlayground(args: readonly string[] = []): Promise<Playground> {
  const play = await startPeers(args)
  const hookSecret = process.env.DROVER_HOOK_SECRET ?? randomBytes(24).toString('hex')
  const token = randomBytes(24).toString('base64url')
  const env = { ...variables(play), DROVER_HOOK_SECRET: hookSecret }
  const config = parseConfig(playgroundYaml(play), 'the playground', env)
  const local = await startServing(config, args.includes('--debug') ? jsonLog : () => {})
  const protocol = createProtocol(play, bookOf(local))
  const bench: Bench = { protocol, faults: createFaultMenu(play.slack, play.rancher), targets: offersOf(local), images: IMAGES }
  const page = playgroundPage({ peer: play.slack, token, examples, containers: containersOf(args), bench })
  const root = new Hono<{ Bindings: HttpBindings }>()
  for (const path of ['/healthz', '/readyz', '/hooks/*', '/slack/*'])
    root.all(path, (context) => local.app.fetch(context.req.raw))
  root.all('*', (context) => page.fetch(context.req.raw, context.env))
  const { port, close } = await listen(root.fetch)
  const url = `http://127.0.0.1:${port}`
  play.slack.connect(`${url}/slack/events`)
  return {
    ...play,
    url,
    pageUrl: `${url}/?token=${token}`,
    hookSecret,
    config,
    async close() {
      protocol.close()
      await local.stop(2_000)
      await close()
      await play.close()
    },
  }
}

/** What is real here, in the words of the welcome. */
function containersOf(args: readonly string[]): string {
  return args.includes('--docker') ? 'real containers (on play) and pretend pods (on kube)' : 'pretend containers'
}

/** The ledger as the page may see it: masked like everything that drover shows. */
function bookOf({ house }: Local): RunBook {
  return {
    latest: async (limit) => (await house.ledger.list({ limit })).map(({ id }) => id),
    read: (run) => house.ledger.read(run),
    mask: (text) => house.redactor.text(text).text,
  }
}

/** What drover itself would tell this person there. */
function offersOf({ gateway }: Local): NonNullable<Bench['targets']> {
  return async (user, team, channel) => {
    const place = { kind: 'slack', team: 'T0PLAY', channel } as const
    const answer = await gateway.targets({}, { kind: 'slack-user', team, user }, place)
    if (!answer.ok) return []
    return answer.targets.map(({ name, backend, labels, facets: { stack, service, namespace, workload, container } }) => ({
      name,
      backend,
      labels,
      ...(stack === undefined ? {} : { stack }),
      ...(service === undefined ? {} : { service }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(workload === undefined ? {} : { workload }),
      ...(container === undefined ? {} : { container }),
    }))
  }
}

/** `drover playground`: until it is interrupted. */
export async function playground(args: readonly string[]): Promise<void> {
  const play = await startPlayground(args)
  console.log(`drover playground: nothing in it is real but drover${args.includes('--docker') ? ' and the containers of play; the pods of kube are pretend' : ''}.

  Open        ${play.pageUrl}
  Try         /exec label=web cmd="uptime"
              /rollout image deployment=api container=main image=drover-test/busybox:2
  Webhook     ${play.url}/hooks/disk-alert   export DROVER_HOOK_SECRET=${play.hookSecret}

  Ctrl-C ends it.`)
  endOnSignal(() => play.close())
}

/** `drover peers`: the pretend Slack, Rancher and Kubernetes alone; prints what other clients need to reach them, and a drover.yaml for them. */
export async function peers(args: readonly string[]): Promise<void> {
  if (args.includes('--detach')) return detach(args.filter((arg) => arg !== '--detach'))
  const target = args.find((arg) => arg.startsWith('--request-url='))?.slice('--request-url='.length)
  const play = await startPeers(args, target)
  // A file, since addresses of backends stand in one; its ledger is away from whoever works in this folder.
  const folder = mkdtempSync(join(tmpdir(), 'drover-peers-'))
  const file = join(folder, 'drover.yaml')
  writeFileSync(file, peersYaml(play, join(folder, 'drover.db')))
  for (const [name, value] of Object.entries({ ...variables(play), DROVER_CONFIG: file }))
    console.log(`export ${name}='${value}'`)
  console.log(`export DROVER_PEERS_PID='${process.pid}'`)
  endOnSignal(async () => {
    rmSync(folder, { recursive: true, force: true })
    await play.close()
  })
}

/** Starts the peers in the background and returns once their lines are printed: `eval "$(npm run -s peers -- --detach)"`. */
async function detach(args: readonly string[]): Promise<void> {
  // Built or not, the command stands beside this file.
  const entry = new URL(import.meta.url.endsWith('.ts') ? './cli.ts' : './cli.js', import.meta.url).pathname
  const child: ChildProcess = spawn(process.execPath, [entry, 'peers', ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const lines = await new Promise<string>((resolve, reject) => {
    let text = ''
    const timer = setTimeout(
      () => reject(new DroverError({ code: 'timeout', message: 'The peers did not start in 30 s.' })),
      30_000,
    )
    child.once('exit', () =>
      reject(
        new DroverError({
          code: 'internal',
          message: 'The peers ended before they were ready.',
          next: 'Run npm run peers to see why.',
        }),
      ),
    )
    child.stdout?.on('data', (data: Buffer) => {
      text += data.toString()
      if (!text.includes('DROVER_PEERS_PID')) return
      clearTimeout(timer)
      resolve(text)
    })
  })
  process.stdout.write(`${lines.trimEnd()}\n`)
  child.stdout?.destroy()
  child.unref()
}

function endOnSignal(close: () => Promise<void>): void {
  const end = () => void close().finally(() => process.exit(0))
  process.once('SIGINT', end)
  process.once('SIGTERM', end)
}

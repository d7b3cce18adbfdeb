/** How soon, and how many, signed slash commands are acknowledged: drover with its durable accept, bare Hono and Bolt without. */

import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DoorName, doorNames, startDrover } from './doors.ts'
import { type LoadFigures, load, signingSecret } from './load.ts'
import { here } from './places.ts'
import { onDeno, onNode, type Server, startServer, startWorker } from './processes.ts'
import { against, type Bench, interleaved, median, quantile, type Row } from './rows.ts'

const command = 'name=bench-1 -- uptime'

export const acknowledge: Bench = {
  name: 'acknowledge',
  async run({ quick, say }) {
    // Short turns: what else the machine does changes within seconds.
    const rounds = quick ? 2 : 4
    const ms = quick ? 600 : 1_000
    // A Slack that never answers: the runs themselves wait for it, so that acknowledging is measured and not what follows.
    const silent = createServer(() => {})
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const slackApi = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/api/`
    const doors = { slackApi, rancher: 'http://127.0.0.1:9' }
    const env = { SLACK_SIGNING_SECRET: signingSecret }
    const rows: Row[] = []
    let bolt: number | undefined
    for (const door of doorNames) {
      say(`acknowledge on ${door}`)
      const servers: Record<string, Server> = { hono: await startHono(door, env), drover: await startDrover(door, doors) }
      if (door === 'Node') servers.bolt = await startServer(onNode(here('servers/bolt.ts')), env)
      if (door !== 'workerd') servers.memory = await startDrover(door, doors, ':memory:')
      for (const { url } of Object.values(servers)) await load(url, { connections: 10, ms: ms / 2, text: command })
      const one = await interleaved(rounds, subjects(servers, { connections: 1, ms: ms / 2, text: command }), ({ p50 }) => p50)
      const many = await interleaved(rounds, subjects(servers, { connections: 50, ms, text: command }), (many) => many.perSecond)
      for (const server of Object.values(servers)) await server.stop()
      const rate = (name: string) => median((many[name] ?? []).map(({ perSecond }) => perSecond))
      const late = (name: string, what: 'p50' | 'p99') => median((one[name] ?? []).map((figures) => figures[what]))
      if (door === 'Node') bolt = rate('bolt')
      const note = 'one durable write: the run is accepted'
      const name = `acknowledge ${door}`
      const value = rate('drover')
      rows.push(
        against(
          { name: `${name}, 50 connections`, value, unit: 'requests/s', note },
          { name: 'bare Hono', value: rate('hono') },
          { atLeast: 0.5 },
        ),
      )
      if (bolt !== undefined)
        rows.push(
          against(
            { name: `${name}, 50 connections`, value, unit: 'requests/s' },
            { name: "Bolt's HTTPReceiver on Node", value: bolt },
            { atLeast: 1 },
          ),
        )
      if (servers.memory)
        rows.push(
          against(
            { name: `${name}, 50 connections, ledger in memory`, value: rate('memory'), unit: 'requests/s' },
            { name: 'bare Hono', value: rate('hono') },
          ),
        )
      for (const what of ['p50', 'p99'] as const)
        rows.push(
          against(
            { name: `${name}, 1 connection, ${what}`, value: late('drover', what), unit: 'ms' },
            { name: 'bare Hono', value: late('hono', what) },
          ),
        )
      if (door === 'Node') {
        const write = durableWriteMs()
        const floor = { name: 'bare Hono and one durable write', value: late('hono', 'p50') + write }
        rows.push(against({ name: `${name}, 1 connection, p50`, value: late('drover', 'p50'), unit: 'ms' }, floor), {
          name: 'one durable write of 8 KiB, p50: less an answer that keeps anything cannot take',
          value: write,
          unit: 'ms',
        })
      }
      rows.push({ name: `${name}: bare Hono, 50 connections`, value: rate('hono'), unit: 'requests/s' })
    }
    if (bolt !== undefined)
      rows.push({ name: "acknowledge Node: Bolt's HTTPReceiver, 50 connections", value: bolt, unit: 'requests/s' })
    silent.closeAllConnections()
    silent.close()
    return rows
  },
}

/** What the disk takes for the least that can be kept: a write and fdatasync, median of a hundred. */
function durableWriteMs(): number {
  const folder = mkdtempSync(join(tmpdir(), 'drover-bench-disk-'))
  const file = openSync(join(folder, 'file'), 'w')
  const bytes = Buffer.alloc(8192, 1)
  const times = Array.from({ length: 100 }, () => {
    const begin = performance.now()
    writeSync(file, bytes)
    fdatasyncSync(file)
    return performance.now() - begin
  })
  closeSync(file)
  rmSync(folder, { recursive: true, force: true })
  return quantile(times, 0.5)
}

function subjects(
  servers: Readonly<Record<string, Server>>,
  options: Parameters<typeof load>[1],
): Record<string, () => Promise<LoadFigures>> {
  return Object.fromEntries(Object.entries(servers).map(([name, { url }]) => [name, () => load(url, options)]))
}

function startHono(door: DoorName, env: Readonly<Record<string, string>>): Promise<Server> {
  if (door === 'workerd') return startWorker(honoConfig(), env)
  return startServer(door === 'Node' ? onNode(here('servers/hono-node.ts')) : onDeno(here('servers/hono-deno.ts')), env)
}

/** Outside the tree: wrangler keeps its files beside its configuration. */
function honoConfig(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'drover-bench-hono-')), 'wrangler.toml')
  const lines = [
    'name = "bare-hono"',
    `main = "${here('servers/hono-worker.ts')}"`,
    'compatibility_date = "2026-11-17"',
    'compatibility_flags = ["nodejs_compat"]',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}

/** How long until there is something: the command line, the server, and what Cloudflare has to load. */

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { startDrover } from './doors.ts'
import { here, root, wrangler } from './places.ts'
import { onNode, pause, startServer } from './processes.ts'
import { absolute, against, type Bench, interleaved, median, type Row } from './rows.ts'

export const startup: Bench = {
  name: 'startup',
  async run({ quick, say }) {
    say('start-up')
    const peer = await startServer(onNode(here('servers/rancher.ts')), {})
    const keys = { CATTLE_URL: `${peer.url}/v2-beta`, CATTLE_ACCESS_KEY: 'bench-key-01234', CATTLE_SECRET_KEY: 'bench-key-01234' }
    const home = mkdtempSync(join(tmpdir(), 'drover-bench-home-'))
    const doors = { slackApi: 'http://127.0.0.1:9/api/', rancher: peer.url, home }
    const drover = root('bin/drover.js')
    const exec = [drover, 'exec', 'name=bench-1', '--', 'bench', 'ok']
    const server = async () => {
      const begin = performance.now()
      const started = await startDrover('Node', doors)
      const took = performance.now() - begin
      // By then what it has compiled is kept.
      await pause(1_000)
      await started.stop()
      return took
    }
    // Each once before: what one start has compiled, the next ones take.
    await timed(exec, { ...keys, HOME: home })
    await timed([drover, 'targets', 'name=bench-1'], { ...keys, HOME: home })
    await server()
    const ms = await interleaved(quick ? 2 : 4, {
      node: () => timed(['-e', '0'], {}),
      version: () => timed([drover, '--version'], { HOME: home }),
      targets: () => timed([drover, 'targets', 'name=bench-1'], { ...keys, HOME: home }),
      exec: () => timed(exec, { ...keys, HOME: home }),
      first: () => timed(exec, keys),
      server,
    })
    rmSync(home, { recursive: true, force: true })
    await peer.stop()
    const node = { name: 'node -e 0', value: median(ms.node ?? []) }
    return [
      against({ name: 'drover --version', value: median(ms.version ?? []), unit: 'ms' }, node),
      against({ name: 'drover targets, one target', value: median(ms.targets ?? []), unit: 'ms' }, node),
      against({ name: 'drover exec, one target, to its end', value: median(ms.exec ?? []), unit: 'ms' }, node),
      against({ name: 'drover exec, where nothing compiled is kept', value: median(ms.first ?? []), unit: 'ms' }, node),
      against({ name: 'server, until it listens', value: median(ms.server ?? []), unit: 'ms' }, node),
      ...worker(),
    ]
  },
}

async function timed(args: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
  const begin = performance.now()
  const child = spawn(process.execPath, args, { cwd: tmpdir(), env: { PATH: process.env.PATH, ...env }, stdio: 'ignore' })
  const code = await new Promise((resolve) => child.once('exit', resolve))
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`)
  return performance.now() - begin
}

function worker(): Row[] {
  const folder = mkdtempSync(join(tmpdir(), 'drover-bench-bundle-'))
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' }
  const build = (config: string, out: string): Buffer => {
    const options = ['deploy', '--dry-run', '--config', config, '--outdir', join(folder, out)]
    execFileSync(process.execPath, [wrangler, ...options], { cwd: root(''), env, stdio: 'pipe' })
    return readFileSync(join(folder, out, 'worker.js'))
  }
  try {
    const slim = build(root('wrangler.toml'), 'slim')
    const plain = join(folder, 'plain.toml')
    const text = readFileSync(root('wrangler.toml'), 'utf8')
    writeFileSync(plain, text.replace(/\[alias\][^[]*/, '').replace('src/worker.ts', root('src/worker.ts')))
    const full = build(plain, 'full')
    const size = gzipSync(slim).byteLength / 1024
    const bundle = { name: 'Worker bundle, gzip', value: size, unit: 'KiB' }
    return [
      absolute(bundle, { atMost: 250 }),
      against(bundle, { name: 'without the aliases', value: gzipSync(full).byteLength / 1024 }),
      ...startupCpu(folder, env),
    ]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Cloudflare refuses a Worker whose global scope takes more than 1 s of CPU. */
function startupCpu(folder: string, env: NodeJS.ProcessEnv): Row[] {
  const out = join(folder, 'startup.cpuprofile')
  execFileSync(process.execPath, [wrangler, 'check', 'startup', '--outfile', out], { cwd: root(''), env, stdio: 'pipe' })
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(out, 'utf8')) as {
    nodes: { id: number; callFrame: { functionName: string } }[]
    samples: number[]
    timeDeltas: number[]
  }
  const idle = new Set(nodes.filter(({ callFrame }) => callFrame.functionName === '(idle)').map(({ id }) => id))
  const micros = samples.reduce((sum, id, i) => sum + (idle.has(id) ? 0 : (timeDeltas[i] ?? 0)), 0)
  return [absolute({ name: 'Worker start-up, CPU', value: micros / 1000, unit: 'ms' }, { atMost: 1000 })]
}

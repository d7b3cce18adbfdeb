/** Node, Deno and workerd as places where the story of Kubernetes can be told. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { unstable_startWorker } from 'wrangler'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { type Asked, story, type Told } from './kubernetes-story.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
export type Runtime = { tell(asked: Asked): Promise<Told>; close(): Promise<unknown> }

export const RUNTIMES: Readonly<Record<'Node' | 'Deno' | 'workerd', () => Promise<Runtime>>> = {
  Node: async () => ({
    tell: (asked) => story(asked, { transport: nodeTransport, files: filesOf(nodeMachine()) }),
    close: async () => undefined,
  }),
  Deno: async () => ({
    async tell(asked) {
      const rights = ['--allow-net=127.0.0.1', '--allow-read', '--allow-env', '--allow-sys', '--allow-run']
      const args = ['run', '--quiet', '--no-lock', ...rights, here('kubernetes-deno.ts'), JSON.stringify(asked)]
      return JSON.parse((await promisify(execFile)(here('../../node_modules/.bin/deno'), args)).stdout) as Told
    },
    close: async () => undefined,
  }),
  workerd: async () => {
    // Else it asks Cloudflare where it is.
    process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'
    const worker = await unstable_startWorker({
      config: here('kubernetes-worker.toml'),
      dev: { server: { hostname: '127.0.0.1', port: 0 }, inspector: false, logLevel: 'none', watch: false },
    })
    await worker.ready
    const url = await worker.url
    return {
      tell: async (asked) => (await (await fetch(url, { method: 'POST', body: JSON.stringify(asked) })).json()) as Told,
      close: () => worker.dispose(),
    }
  },
}

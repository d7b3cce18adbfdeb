/** Starts the fixture in real workerd, bundled by wrangler; storage goes with it. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unstable_startWorker } from 'wrangler'

export async function startFixture(): Promise<{ url: string; close(): Promise<void> }> {
  const persist = mkdtempSync(join(tmpdir(), 'drover-workerd-'))
  const worker = await unstable_startWorker({
    config: fileURLToPath(new URL('wrangler.toml', import.meta.url)),
    dev: { server: { hostname: '127.0.0.1', port: 0 }, inspector: false, logLevel: 'none', persist, watch: false },
  })
  await worker.ready
  const url = (await worker.url).href.replace(/\/$/, '')
  return {
    url,
    async close() {
      await worker.dispose()
      rmSync(persist, { recursive: true, force: true })
    },
  }
}

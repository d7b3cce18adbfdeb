/** One story on three real runtimes; one file after the other, for each starts processes of its own. */

import { defineConfig } from 'vitest/config'
import { tries } from './test/tries.ts'

export default defineConfig({ test: { include: ['test/e2e/*.test.ts'], testTimeout: 60_000, hookTimeout: 120_000, fileParallelism: false, ...tries } })

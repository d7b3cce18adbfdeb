/** The playground in a real browser: Debian's Chromium. */

import { defineConfig } from 'vitest/config'
import { tries } from './test/tries.ts'

export default defineConfig({ test: { include: ['test/browser/*.test.ts'], expect: { poll: { timeout: 15_000 } }, testTimeout: 180_000, hookTimeout: 60_000, fileParallelism: false, ...tries } })

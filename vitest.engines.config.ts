/** Tests on real engines; `test/engines/run.sh` starts them and says where they are. */

import { defineConfig } from 'vitest/config'
import { tries } from './test/tries.ts'

export default defineConfig({ test: { include: ['test/engines/*.test.ts'], expect: { poll: { timeout: 15_000 } }, testTimeout: 60_000, hookTimeout: 60_000, fileParallelism: false, ...tries } })

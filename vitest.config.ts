/** What `npm test` runs: all of test/ but what needs a browser, real engines or three whole processes. */

import { configDefaults, defineConfig } from 'vitest/config'
import { tries } from './test/tries.ts'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, 'test/browser/**', 'test/engines/**', 'test/e2e/**'],
    pool: 'forks',
    // Most of them wait for something: more than the machine has cores of.
    maxWorkers: 4,
    // The default of one second is a timed assertion on a busy machine.
    expect: { poll: { timeout: 15_000 } },
    watch: false,
    testTimeout: 20_000,
    hookTimeout: 20_000,
    allowOnly: false,
    ...tries,
  },
})

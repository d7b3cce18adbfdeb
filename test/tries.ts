/** In CI a test that failed is tried once more, since other work goes on beside it there; and each one that needed it is named. */

import type { Reporter } from 'vitest/node'

const isCi = Boolean(process.env.CI)

const second: Reporter = {
  onTestCaseResult(test) {
    if (test.diagnostic()?.flaky) console.log(`passed at the second try: ${test.module.relativeModuleId} > ${test.fullName}`)
  },
}

export const tries = { retry: isCi ? 1 : 0, reporters: ['default', second] }

/** What a backend can do whose engine knows all of it. */

import type { Traits } from '../../core/model.ts'

export const everyTrait: Traits = {
  exitCode: true,
  separateStderr: true,
  stdin: true,
  env: true,
  dir: true,
  user: true,
  tty: true,
  kill: true,
}

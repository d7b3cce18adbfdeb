/** What `drover check` says of the rules and hooks of a configuration, before anybody is asked. */

import { expect, it } from 'vitest'
import { checkAll } from '../src/check.ts'
import { parseConfig } from '../src/config.ts'

const env = {
  SLACK_SIGNING_SECRET: '8f742231b10e8888abcd99yyyzzz85a5',
  SLACK_BOT_TOKEN: 'xoxb-1-abcdef',
  OLD: '0123456789abcdef0123456789abcdef',
  NEW: 'fedcba9876543210fedcba9876543210',
}

/** Slack is asked where nobody listens. */
const config = (hooks: string) =>
  parseConfig(
    `slack: { signingSecret: { env: SLACK_SIGNING_SECRET }, botToken: { env: SLACK_BOT_TOKEN }, team: T0123ABC, apiUrl: 'http://127.0.0.1:1/' }
hooks:
${hooks}
`,
    'drover.yaml',
    env,
  )

it('a hook whose request a start would refuse is found, and what is wrong with it is said', async () => {
  const lines = await checkAll(
    config(`  disk: { secrets: [{ env: OLD }], channel: T0123ABC/C0123ABC, request: 'label=web -- df {path}', parameters: { way: { pointer: /way } } }
  load: { secrets: [{ env: NEW }], channel: T0123ABC/C0123ABC, request: 'label=web -- uptime' }`),
    'drover.yaml',
    undefined,
  )
  expect(lines.filter(({ what }) => what.startsWith('hook'))).toEqual([
    { ok: false, what: 'hook disk', detail: expect.stringContaining('the parameter way is not used'), next: expect.any(String) },
  ])
  expect(lines).toContainEqual(expect.objectContaining({ ok: 'warn', what: 'rules', detail: 'none: nobody may run anything' }))
})

it('two secrets of a hook are told for as long as there are two', async () => {
  const secrets = '[{ env: OLD }, { env: NEW }]'
  const lines = await checkAll(
    config(`  disk: { secrets: ${secrets}, channel: T0123ABC/C0123ABC, request: 'label=web -- df' }`),
    'drover.yaml',
    undefined,
  )
  expect(lines.filter(({ what }) => what.startsWith('hook'))).toEqual([
    {
      ok: 'warn',
      what: 'hook disk',
      detail: 'two secrets are good for it',
      next: expect.stringContaining('take the old one out'),
    },
  ])
})

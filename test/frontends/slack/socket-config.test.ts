/** Socket Mode as it stands in drover.yaml. */

import { expect, test } from 'vitest'
import { parseConfig, secretsOf } from '../../../src/config.ts'
import { DroverError } from '../../../src/core/errors.ts'

const env = {
  BOT: 'xoxb-1-abcdef',
  APP: 'xapp-1-A0123-456-abcdef',
  SIGNING: '8f742231b10e8888abcd99yyyzzz85a5',
}
const file = (slack: string) => `slack: { team: T0123, ${slack} }`

function mistake(slack: string, variables: Record<string, string> = env, runtime?: { socketMode: boolean }): string {
  try {
    parseConfig(file(slack), 'drover.yaml', variables, runtime)
  } catch (error) {
    if (error instanceof DroverError && error.code === 'config') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

test('an app token needs no signing secret, and both may stand together', () => {
  const socket = parseConfig(file('botToken: { env: BOT }, appToken: { env: APP }'), 'drover.yaml', env).slack
  expect([socket?.appToken?.reveal(), socket?.signingSecret]).toEqual([env.APP, undefined])
  const both = parseConfig(
    file('botToken: { env: BOT }, appToken: { env: APP }, signingSecret: { env: SIGNING }'),
    'drover.yaml',
    env,
  )
  expect(both.slack?.signingSecret?.reveal()).toBe(env.SIGNING)
  expect(secretsOf(both)).toContain(env.APP)
})

test.each([
  ['neither way in', 'botToken: { env: BOT }', env, /slack: say how Slack reaches drover: signingSecret .* appToken/],
  [
    'a bot token for the app token',
    'botToken: { env: BOT }, appToken: { env: BOT2 }',
    { ...env, BOT2: 'xoxb-1-abcdefghijkl' },
    /slack\.appToken: BOT2 does not hold an app-level token \(xapp-…\).*connections:write/,
  ],
  [
    'an app token for the bot token',
    'botToken: { env: APP }, appToken: { env: APP }',
    env,
    /slack\.botToken: APP holds an app-level token/,
  ],
  ['an app token in the file', 'botToken: { env: BOT }, appToken: xapp-1-x', env, /slack\.appToken.*env: NAME_OF_A_VARIABLE/],
  ['a variable that is not set', 'botToken: { env: BOT }, appToken: { env: NONE }', env, /NONE is not set/],
] as const)('%s stops the start, and says where', (_, slack, variables, message) => {
  expect(mistake(slack, variables)).toMatch(message)
})

test('[no-secret-shown] no mistake shows the token it is about', () => {
  const secret = 'xoxb-1-very-secret-value'
  expect(mistake('botToken: { env: BOT }, appToken: { env: X }', { ...env, X: secret })).not.toContain(secret)
})

test('where nothing can stay connected an app token is refused with the reason, whatever else is set', () => {
  const slack = 'botToken: { env: BOT }, appToken: { env: APP }, signingSecret: { env: SIGNING }'
  expect(mistake(slack, env, { socketMode: false })).toMatch(
    /slack\.appToken: Socket Mode needs a process that stays connected.*Workers/,
  )
  const http = file('botToken: { env: BOT }, signingSecret: { env: SIGNING }')
  expect(parseConfig(http, 'drover.yaml', env, { socketMode: false }).slack?.team).toBe('T0123')
})

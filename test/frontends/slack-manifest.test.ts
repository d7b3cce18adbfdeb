/** The manifest of the Slack app: within Slack’s limits, and with the scopes that drover’s calls need. */

import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import * as z from 'zod'
import { EVENT_SCOPES, SLACK_METHODS } from '../../src/frontends/slack/methods.ts'

const url = z.string().regex(/^https?:\/\/\S+$/)

/** Limits of Slack's manifest schema of July 2026 for what an app like this one uses. Unknown keys are mistakes. */
const manifestSchema = z.strictObject({
  _metadata: z.strictObject({ major_version: z.union([z.literal(1), z.literal(2)]) }).optional(),
  display_information: z.strictObject({
    name: z.string().min(1).max(35),
    description: z.string().max(140).optional(),
    long_description: z.string().min(175).max(4000).optional(),
    background_color: z
      .string()
      .regex(/^#([0-9a-f]{3}|[0-9a-f]{6})$/i)
      .optional(),
  }),
  features: z.strictObject({
    bot_user: z.strictObject({ display_name: z.string().max(80), always_online: z.boolean().optional() }),
    slash_commands: z
      .array(
        z.strictObject({
          command: z
            .string()
            .regex(/^\/\S+$/)
            .max(32),
          url: url.optional(),
          description: z.string().max(2000),
          usage_hint: z.string().max(1000).optional(),
          should_escape: z.boolean().optional(),
        }),
      )
      .max(50),
  }),
  oauth_config: z.strictObject({ scopes: z.strictObject({ bot: z.array(z.string()).max(255) }) }),
  settings: z.strictObject({
    event_subscriptions: z.strictObject({ request_url: url, bot_events: z.array(z.string()).max(100) }),
    interactivity: z.strictObject({ is_enabled: z.boolean(), request_url: url }),
    org_deploy_enabled: z.boolean().optional(),
    socket_mode_enabled: z.boolean().optional(),
    token_rotation_enabled: z.boolean().optional(),
  }),
})

const text = await readFile(new URL('../../slack-manifest.yml', import.meta.url), 'utf8')
const manifest = manifestSchema.parse(parse(text))

test('the manifest keeps Slack’s limits and knows no unknown key', () => {
  expect(manifestSchema.safeParse(parse(text)).error).toBeUndefined()
  expect(manifestSchema.safeParse({ ...parse(text), extra: 1 }).success).toBe(false)
})

test('the scopes are those that our calls and Slack’s deliveries need: none missing, none to spare', () => {
  const needed = new Set<string>([
    ...EVENT_SCOPES,
    ...Object.values(SLACK_METHODS).flatMap(({ scopes }): readonly string[] => scopes),
  ])
  expect(new Set(manifest.oauth_config.scopes.bot)).toEqual(needed)
  expect(manifest.oauth_config.scopes.bot).toHaveLength(needed.size)
})

test('S23: the app is told of mentions only, never of every message', () => {
  expect(manifest.settings.event_subscriptions.bot_events).toEqual(['app_mention'])
})

test('commands, clicks and events go to the one route there is', () => {
  const command = manifest.features.slash_commands.map((one) => one.url)
  const { event_subscriptions, interactivity } = manifest.settings
  expect(new Set([...command, event_subscriptions.request_url, interactivity.request_url])).toEqual(
    new Set(['https://drover.example.com/slack/events']),
  )
  expect(interactivity.is_enabled).toBe(true)
  expect(manifest.features.slash_commands).toMatchObject([
    { command: '/exec', should_escape: false },
    { command: '/rollout', should_escape: false },
  ])
})

/** The manifest for Socket Mode beside the one for HTTP. */

import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parse } from 'yaml'

const read = async (name: string) => readFile(new URL(`../../../${name}`, import.meta.url), 'utf8')

/** The same tree without what says where requests go. */
function withoutUrls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUrls)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([key]) => key !== 'url' && key !== 'request_url')
  return Object.fromEntries(kept.map(([key, one]) => [key, withoutUrls(one)]))
}

test('the manifest for Socket Mode asks for the same command, events and scopes, and names no URL', async () => {
  const http: unknown = parse(await read('slack-manifest.yml'))
  const text = await read('slack-manifest.socket.yml')
  const socket = parse(text) as { settings: object }
  expect(withoutUrls(http)).toMatchObject({ settings: { socket_mode_enabled: false } })
  expect({ ...socket, settings: { ...socket.settings, socket_mode_enabled: false } }).toEqual(withoutUrls(http))
  expect(socket.settings).toMatchObject({ socket_mode_enabled: true, interactivity: { is_enabled: true } })
  expect(text).not.toMatch(/https?:/)
})

/** Private keys in bytes that nobody reads: whether one is open at the end. */

import { expect, it } from 'vitest'
import { createKeyWatch } from '../../src/core/private-keys.ts'

const utf8 = (text: string) => new TextEncoder().encode(text)
const isOpenAfter = (...parts: readonly Uint8Array[]) => {
  const watch = createKeyWatch()
  for (const part of parts) watch.write(part)
  return watch.isOpen
}
const body = `${'MIIEowIBAAKCAQEA0123456789+/abcdefghijklmnopqrstuvwxyz'.repeat(8)}\n`
const begin = '-----BEGIN RSA PRIVATE KEY-----'
const end = '-----END RSA PRIVATE KEY-----'

it.each<[string, boolean | undefined]>([
  [`a\n${begin}\n${body}`, true],
  [`a\n${begin}\n${body}${end}\n`, false],
  [`${begin}\n${body}${end}\n${body}${begin}\n`, true],
  [`${body}${end}\nb`, false],
  ['-----BEGIN PGP PRIVATE KEY BLOCK-----\n', true],
  ['-----BEGIN PRIVATE KEY-----', true],
  ['--------BEGIN PRIVATE KEY--------', true],
  [`${begin}${end}${begin}`, true],
  [`${begin}${end}`, false],
  ['\u001b[1m-----BEGIN RSA \u001b[01;31mPRIVATE\u001b[0m KEY-----\n', true],
  ['-----BEGIN CERTIFICATE-----\n', undefined],
  ['-----BEGIN PUBLIC KEY-----\n', undefined],
  ['----BEGIN PRIVATE KEY-----\n', undefined],
  ['-----BEGIN PRIVATE KEYS-----\n', undefined],
  ['', undefined],
])('S33 %j, however it is cut', (text, isOpen) => {
  const bytes = utf8(`${'2026-01-01 --- a line\n'.repeat(20)}${text}${'x'.repeat(9)}`)
  const from = 400
  expect(isOpenAfter(bytes)).toBe(isOpen)
  for (let at = from; at < bytes.length; at++) expect(isOpenAfter(bytes.slice(0, at), bytes.slice(at)), `at ${at}`).toBe(isOpen)
  for (const size of [1, 7, 64, 199, 200, 201]) {
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size))
    expect(isOpenAfter(...parts), `in ${size}s`).toBe(isOpen)
  }
})

it('S33 a begin of any length, at any place of a piece, is found', () => {
  for (let length = 0; length < 13; length++)
    for (let after = 0; after < 13; after++)
      expect(isOpenAfter(utf8(`-----BEGIN ${'A'.repeat(length)}PRIVATE KEY-----${'z'.repeat(after)}`))).toBe(true)
})

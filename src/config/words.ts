/** Small parts that many settings are made of: times, ids, names, secrets by reference. */

import * as z from 'zod'
import { Secret } from '../core/secret.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
const TIME = 'write a time like 20s, 5m or 500ms'
export const duration = z
  .string(TIME)
  .regex(/^\d{1,6}(ms|s|m|h)$/, TIME)
  .transform((text) => Number.parseInt(text, 10) * units[/[a-z]+$/.exec(text)![0] as keyof typeof units])
  .refine((ms) => ms >= 100 && ms <= 24 * 3_600_000, 'a time between 100ms and 24h')

export const id = (pattern: RegExp, example: string) => {
  const words = `ids, not names: write it like ${example}`
  return z.string(words).regex(pattern, words)
}
export const channel = id(/^[TE][A-Z0-9]+\/[CGD][A-Z0-9]+$/, 'T0123ABC/C0123ABC (team/channel)')
export const team = id(/^[TE][A-Z0-9]+$/, 'T0123ABC')

const NAME = 'a name of lower case letters, digits, - and _, which begins with a letter or digit'
export const name = z.string(NAME).regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, NAME)

/** Values that stand in every tutorial: refused wherever a secret is wanted (S31). */
const wellKnown = /^(change-?me.*|password\d*|secret|testp|admin|default|example|xxx+|todo|your-.*)$/i

const REFERENCE = 'write { env: NAME_OF_A_VARIABLE }; secrets never stand in the file'
const VARIABLE = 'the name of an environment variable, without $; what it holds never stands in the file'

/** `wrong` says what is wrong with a value that is there. */
export function secretOf(env: Environment, shortest: number, wrong: (value: string) => string | undefined = () => undefined) {
  return z
    .strictObject(
      { env: z.string(VARIABLE).regex(/^[A-Za-z_][A-Za-z0-9_]*$/, VARIABLE) },
      // An unknown key in it has words of its own.
      { error: ({ code }) => (code === 'invalid_type' ? REFERENCE : undefined) },
    )
    .transform((reference, context) => {
      const value = env[reference.env]?.trim()
      const problem =
        value === undefined || value === ''
          ? `the environment variable ${reference.env} is not set`
          : wellKnown.test(value)
            ? `${reference.env} holds a value that everybody knows; set a real one`
            : value.length < shortest
              ? `${reference.env} is shorter than ${shortest} characters`
              : prefixed(reference.env, wrong(value))
      if (problem) context.addIssue({ code: 'custom', message: problem })
      return new Secret(value ?? '')
    })
}

const prefixed = (name: string, problem: string | undefined) => (problem === undefined ? undefined : `${name} ${problem}`)

/** Every secret in what a configuration has become. */
export function secretsIn(value: unknown): readonly string[] {
  if (value instanceof Secret) return partsOf(value.reveal())
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(secretsIn) : []
}

/** Of a key in two parts, `token-x7k2p:secret`, the second is as secret alone. */
function partsOf(value: string): readonly string[] {
  const second = /^[^:\s]+:([^:\s]{16,})$/.exec(value)?.[1]
  return second === undefined ? [value] : [value, second]
}

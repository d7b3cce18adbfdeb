/** `drover exec` as a person types it, for a container made for the command: the same words and the same ends on every engine that can. */

import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

export type Typed = { readonly code: number; readonly said: string }
export type Drover = (...words: readonly string[]) => Promise<Typed>

/** A drover.yaml with this one backend in `folder`, and the command line that reads it. */
export function commandLine(folder: string, backend: object, rights: readonly string[] = ['shell']): Drover {
  const config = join(folder, 'drover.yaml')
  const rule = { id: 'me', effect: 'allow', who: { cli: true }, commands: ['...'], rights, images: ['drover-test/*'] }
  const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
  return (...words) =>
    new Promise((resolve) => {
      writeFileSync(
        config,
        JSON.stringify({ ledger: { path: join(folder, 'ledger.db') }, backends: { engine: backend }, rules: [rule] }),
      )
      const child = execFile(process.execPath, [cli, 'exec', '--config', config, ...words], (_error, out, err) =>
        resolve({ code: child.exitCode ?? -1, said: out + err }),
      )
    })
}

/** `seconds`: what only these tests sleep. `alive`: processes of the engine's machine. */
export function newContainersByCommandLine(
  drover: Drover,
  { image, seconds, alive }: { readonly image: string; readonly seconds: number; alive(needle: string): readonly string[] },
): void {
  test('an image that a rule names runs, and one that none names does not', async () => {
    const ran = await drover(`image=${image}`, 'cmd=echo out; echo err >&2; exit 3')
    expect([ran.code, /\bout\n/.test(ran.said), /\berr\n/.test(ran.said)]).toEqual([3, true, true])
    const refused = await drover('image=other/busybox:1', '--', 'true')
    expect(refused.code).not.toBe(0)
    expect(refused.said).toContain('No rule allows')
  })

  test('[gone-is-gone] what has timed out is gone', async () => {
    const { code, said } = await drover(`image=${image}`, 'timeout=3s', '--', 'sleep', `${seconds}`)
    expect([code, /still running/.test(said)]).toEqual([124, false])
    expect(alive(`sleep ${seconds}`)).toEqual([])
  })
}

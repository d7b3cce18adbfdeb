/** Named pipes as an engine beside drover would use them, told as plain data; as a program it prints them, so that Deno can play it too. */

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { DroverError } from '../../src/core/errors.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'

const soon = () => AbortSignal.timeout(20_000)
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof DroverError ? error.code : (error as Error).name),
  )

/** A program with its stdin and stdout at these paths, opened by itself: an engine's shim. */
function engine(script: string, ...paths: readonly string[]): Promise<number | null> {
  const child = spawn('/bin/sh', ['-c', script, 'sh', ...paths], { stdio: 'ignore' })
  return new Promise((resolve) => child.on('exit', resolve))
}

async function bytesOf(data: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0
  for await (const piece of data) bytes += piece.byteLength
  return bytes
}

export async function scenario() {
  const folder = mkdtempSync(join(tmpdir(), 'drover-pipes-'))
  try {
    // An engine that is done before anybody looks.
    const early = await makePipes(['out'], folder, soon())
    const mode = (statSync(join(early.path('out'), '..')).mode & 0o777).toString(8)
    const out = await early.read('out', soon())
    // Held as a shim holds it: open both ways, until all was taken.
    const wrote = engine('exec 3<>"$1"; : >"$1.ready"; sleep 0.1; printf "hello you" >&3', early.path('out'))
    while (!existsSync(`${early.path('out')}.ready`)) await sleep(5)
    early.handedOver()
    const handedOver = readdirSync(folder).length
    await wrote
    await sleep(200)
    const text: string[] = []
    for await (const piece of out) text.push(new TextDecoder().decode(piece))
    early.close()

    // What goes in comes out, far more than a pipe holds.
    const both = await makePipes(['in', 'out'], folder, soon())
    const echo = await both.read('out', soon())
    void engine('cat <"$1" >"$2"', both.path('in'), both.path('out'))
    const input = await both.write('in', soon())
    const sent = input.send(new Uint8Array(1_000_000).fill(120)).then(() => input.end())
    await sleep(20)
    both.handedOver()
    const echoed = await bytesOf(echo)
    await sent
    both.close()

    // A reader that ends early ends the writing.
    const short = await makePipes(['in'], folder, soon())
    void engine('head -c 10 <"$1" >/dev/null', short.path('in'))
    const broken = await short.write('in', soon())
    await broken.send(new Uint8Array(1_000_000))
    short.close()

    // Nobody comes: the signal ends the waiting, and closing ends the reading.
    const nobody = await makePipes(['in', 'out'], folder, soon())
    const unread = await codeOf(nobody.write('in', AbortSignal.timeout(50)))
    const silent = process.versions.deno ? undefined : await nobody.read('out', soon())
    setTimeout(() => nobody.close(), 50)
    const closed =
      silent === undefined
        ? 'ended'
        : await bytesOf(silent).then(
            () => 'ended',
            () => 'ended',
          )
    nobody.close()

    const refused = await codeOf(makePipes(['x'], join(folder, 'missing'), soon()))
    const aborted = await codeOf(makePipes(['x'], folder, AbortSignal.abort()))
    return { mode, text: text.join(''), handedOver, echoed, unread, closed, refused, aborted, left: readdirSync(folder).length }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (process.argv.includes('--print')) console.log(JSON.stringify(await scenario()))

/** What a command reads as stdin, and how it is fed. */

import type { Command } from '../../core/model.ts'

type Input = string | AsyncIterable<Uint8Array>

const STDIN_PIECE_BYTES = 64 * 1024

export function inputOf(what: {
  readonly stdin?: AsyncIterable<Uint8Array> | undefined
  readonly command: Command
}): Input | undefined {
  return what.stdin ?? what.command.stdin
}

type Connected = { write(data: Uint8Array): Promise<void>; end(): void }

/** A source that fails is not ended: the command must not take a part for the whole. Who gave it ends the command. */
export async function feed(connection: Connected, stdin: Input): Promise<void> {
  for await (const bytes of typeof stdin === 'string' ? [new TextEncoder().encode(stdin)] : stdin)
    for (let at = 0; at < bytes.byteLength; at += STDIN_PIECE_BYTES)
      await connection.write(bytes.subarray(at, at + STDIN_PIECE_BYTES))
  connection.end()
}

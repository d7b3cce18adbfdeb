/** The shell program that drover runs in a Kubernetes container, because `exec` there knows neither a directory nor an environment nor a way to end what it started. */

import type { Argv, Command } from '../../core/model.ts'

/*
 * Arguments: <exec id> <dir or ''> <bytes of stdin or ''> <NAME=value>… -- <argv>…; nothing is spliced into the text.
 * It tells with a marker on stderr that it is there, and runs nothing before a line came back on stdin. Closing a connection does not stop
 * what a kubelet is about to start: without this, what was given up while it opened could begin after it was proved gone. And whatever goes
 * wrong before that line is known not to have run.
 * The shell stays the parent: by its command line and session the kill finds what has cleaned its environment.
 * A terminal echoes the line; the second marker says where the command's own output begins.
 * v4 cannot end stdin, so `head` counts it. fd 9 keeps the shell's own words ("Killed") out of the command's stderr.
 */
const WRAPPER = `m() { printf '\\036%s %s\\n' "$DROVER_EXEC" "$1" >&2; }
DROVER_EXEC=$1; export DROVER_EXEC
[ -z "$2" ] || cd -P "$2" 2>/dev/null || { m d; exit 125; }
n=$3; [ "\${n:-0}" = 0 ] || command -v head >/dev/null || { m h; exit 125; }
m p$$; IFS= read -r _n || exit 125; [ ! -t 1 ] || m b
shift 3
r() { while [ "$1" != -- ]; do export "$1"; shift; done; shift; case $1 in -*) exec -- "$@";; esac; exec "$@"; }
exec 9>&2
{ if [ "\${n:-0}" = 0 ]; then (r "$@") </dev/null 2>&9 9>&-
else head -c "$n" | (r "$@") 2>&9 9>&-; fi
exit $?; } 2>/dev/null`

/** What the wrapper waits for. */
export const GO = new TextEncoder().encode('go\n')

export function wrapped(command: Command, exec: string): Argv {
  const env = Object.entries(command.env ?? {}).map(([name, value]) => `${name}=${value}`)
  const bytes = command.stdin === undefined ? '' : String(new TextEncoder().encode(command.stdin).byteLength)
  return ['/bin/sh', '-c', WRAPPER, 'drover', exec, command.dir ?? '', bytes, ...env, '--', ...command.argv]
}

/** `p`: it is there, with this pid, and waits. `b`: on a terminal, here the command begins. `d`: no such directory, `h`: no `head`; then it is gone. */
export type Marker = { readonly type: 'p' | 'b' | 'd' | 'h'; readonly pid?: number }

export type MarkerParser = {
  /** Bytes before the marker are the shell's or the terminal's. */
  write(data: Uint8Array): { readonly before: Uint8Array; readonly marker?: Marker; readonly after: Uint8Array }
}

const NOTHING = new Uint8Array()

/** Finds the next marker of one execution, whatever the pieces it comes in; what looks like one after it is output. */
export function markerParser(exec: string): MarkerParser {
  const opening = new TextEncoder().encode(`\x1e${exec} `)
  let held: Uint8Array = NOTHING
  let isFound = false

  return {
    write(data) {
      if (isFound) return { before: NOTHING, after: data }
      held = joined(held, data)
      const at = indexOf(held, opening)
      if (at === -1) {
        // The marker is a line's begin: what cannot become one goes on.
        const keep = Math.min(held.byteLength, opening.byteLength - 1)
        const begin = held.lastIndexOf(0x1e)
        const cut = begin >= held.byteLength - keep ? begin : held.byteLength
        const before = held.slice(0, cut)
        held = held.slice(cut)
        return { before, after: NOTHING }
      }
      const end = held.indexOf(0x0a, at)
      if (end === -1) return { before: NOTHING, after: NOTHING }
      const word = new TextDecoder().decode(held.subarray(at + opening.byteLength, end)).trimEnd()
      const before = held.slice(0, at)
      const after = held.slice(end + 1)
      isFound = true
      held = NOTHING
      const [, type, pid] = /^([pbdh])(\d{0,10})$/.exec(word) ?? []
      return {
        before,
        marker: { type: (type ?? 'p') as Marker['type'], ...(pid ? { pid: Number(pid) } : {}) },
        after,
      }
    },
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.byteLength === 0) return b
  const both = new Uint8Array(a.byteLength + b.byteLength)
  both.set(a)
  both.set(b, a.byteLength)
  return both
}

function indexOf(data: Uint8Array, wanted: Uint8Array): number {
  for (let at = data.indexOf(wanted[0] ?? 0); at !== -1; at = data.indexOf(wanted[0] ?? 0, at + 1)) {
    if (at + wanted.byteLength > data.byteLength) return -1
    if (wanted.every((byte, i) => data[at + i] === byte)) return at
  }
  return -1
}

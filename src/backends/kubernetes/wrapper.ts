/** The shell program that drover runs in a Kubernetes container, because `exec` there knows neither a directory nor an environment nor a way to end what it started. */

import type { Argv, Command } from '../../core/model.ts'

/*
 * Arguments: <exec id> <dir or ''> <bytes of stdin or ''> <NAME=value>… -- <argv>…; nothing is spliced into the text.
 * It tells with a marker on stderr that it is there, and runs nothing before a line came back on stdin. Closing a connection does not stop
 * what a kubelet is about to start: without this, what was given up while it opened could begin after it was proved gone. And whatever goes
 * wrong before that line is known not to have run.
 * The line is a nonce that neither the command nor its environment sees; with it the wrapper tells the exit code, because an API server that
 * speaks v5 answers Success when it has lost the node (kubernetes#73056). A terminal echoes the line: `b` says where the command's output begins.
 * The shell stays the parent: by its command line and session the kill finds what has cleaned its environment.
 * v4 cannot end stdin, so `head` counts it; and what the command does not read is read after it: a server that closes over unread input resets
 * the connection, and the status is lost (v5), or waits for ever (v4). fd 9 keeps the shell's own words ("Killed") out of the command's stderr.
 */
const WRAPPER = `set +a; unset _n; DROVER_EXEC=$1; export DROVER_EXEC
m() { printf '\\036%s %s\\n' "$1" "$2" >&2; }
[ -z "$2" ] || cd -P "$2" 2>/dev/null || { m "$1" d; exit 125; }
_c=$3; [ "\${_c:-0}" = 0 ] || command -v head >/dev/null || { m "$1" h; exit 125; }
m "$1" p$$; IFS= read -r _n || exit 125; [ ! -t 1 ] || m "$_n" b
shift 3
r() { while [ "$1" != -- ]; do export "$1"; shift; done; shift; case $1 in -*) exec -- "$@";; esac; exec "$@"; }
exec 9>&2
{ if [ "\${_c:-0}" = 0 ]; then (r "$@") </dev/null 2>&9 9>&-
else head -c "$_c" | { (r "$@") 2>&9 9>&-; _x=$?; head -c "$_c" >/dev/null; exit $_x; }; fi
_x=$?; m "$_n" x$_x 2>&9; exit $_x; } 2>/dev/null`

export function wrapped(command: Command, exec: string): Argv {
  const env = Object.entries(command.env ?? {}).map(([name, value]) => `${name}=${value}`)
  const bytes = command.stdin === undefined ? '' : String(new TextEncoder().encode(command.stdin).byteLength)
  return ['/bin/sh', '-c', WRAPPER, 'drover', exec, command.dir ?? '', bytes, ...env, '--', ...command.argv]
}

/**
 * By the exec id: `p` it is there, with this pid, and waits; `d` no such directory, `h` no `head`, and it is gone.
 * By the nonce: `b` on a terminal the command begins here; `x` it has ended, with this exit code.
 */
export type Marker = { readonly type: 'p' | 'b' | 'd' | 'h' | 'x'; readonly number?: number }

export type MarkerParser = {
  /** Bytes around the marker, if there is one in what came so far. */
  write(data: Uint8Array): { readonly before: Uint8Array; readonly marker?: Marker; readonly after: Uint8Array }
  /** What was held back as the possible begin of a marker. */
  end(): Uint8Array
}

const NOTHING = new Uint8Array()

/** Finds the next marker that begins with this name, whatever the pieces it comes in. */
export function markerParser(name: string): MarkerParser {
  const opening = new TextEncoder().encode(`\x1e${name} `)
  let held: Uint8Array = NOTHING

  return {
    write(data) {
      const all = joined(held, data)
      const at = indexOf(all, opening)
      if (at === -1) {
        // What cannot become one goes on at once.
        const begin = all.lastIndexOf(0x1e)
        const cut = begin >= 0 && begin > all.byteLength - opening.byteLength ? begin : all.byteLength
        // A copy, so that a few held bytes do not keep a large message alive.
        held = all.slice(cut)
        return { before: all.subarray(0, cut), after: NOTHING }
      }
      const end = all.indexOf(0x0a, at)
      if (end === -1) {
        held = all.slice(at)
        return { before: all.subarray(0, at), after: NOTHING }
      }
      held = NOTHING
      const word = new TextDecoder().decode(all.subarray(at + opening.byteLength, end)).trimEnd()
      const [, type, number] = /^([pbdhx])(\d{0,10})$/.exec(word) ?? []
      const found = { before: all.subarray(0, at), after: all.subarray(end + 1) }
      return type === undefined
        ? { before: all, after: NOTHING }
        : { ...found, marker: { type: type as Marker['type'], ...(number ? { number: Number(number) } : {}) } }
    },
    end() {
      const rest = held
      held = NOTHING
      return rest
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

/** The shell programs that drover runs in a Rancher 1.x container, because `execute` itself tells neither stderr, nor exit code, nor end. */

import type { Argv, Command } from '../../core/model.ts'

/** Bytes of stderr in one frame: with its frame it stays under 1024, musl's stdio buffer, so that it leaves in one write and no stdout lands inside. */
const PIECE = 900

/*
 * Arguments: <exec id> <dir or ''> <NAME=value>… -- <argv>…; nothing is spliced into the text, so every byte of argv arrives as it was judged.
 * The nonce comes as the first line of stdin: neither `ps` nor /proc nor the command can see it, so no output can forge a frame,
 * and nothing runs before it was sent. `exec` starts programs only: a word like `eval` is looked up in PATH and not by the shell.
 * `set +a; unset` : a container may have an exported variable of that name, and would export the nonce with it.
 */
const OPENING = `set +a; unset _n; IFS= read -r _n || exit 125
f() { printf '\\036%s %s\\037%s' "$_n" "$1" "$_n"; }
f "p$$"; DROVER_EXEC=$1; export DROVER_EXEC
[ -z "$2" ] || cd -P "$2" 2>/dev/null || { f d; sleep 1; f .; exit 125; }
shift 2
r() { while [ "$1" != -- ]; do export "$1"; shift; done; shift; case $1 in -*) exec -- "$@";; esac; exec "$@"; }
`

/*
 * stderr goes through a reader that frames it, stdout goes straight to fd 3. dd takes what is there, so that no piece waits for a newline or grows;
 * bash writes what it prints line by line, which would tear a frame, so there `read -n` takes one line at most. The plain loop at the end is for
 * containers without dd. NUL bytes on stderr are lost: no shell can hold them.
 * The last `sleep`: generation A's close may overtake the last output, and then it takes the frame `.`, which says nothing. The client does not wait for it.
 */
const SPLIT = `${OPENING}exec 3>&1
{ (r "$@") </dev/null 2>&1 1>&3 3>&-; f "x$?" >&3; } | {
LC_ALL=C
if [ "$BASH_VERSION" ]; then
while IFS= read -r -n ${PIECE} _l; do if [ \${#_l} = ${PIECE} ]; then f "E$_l"; else f "e$_l"; fi; done
[ -z "$_l" ] || f "E$_l"
else
while _l=$(LC_ALL=C dd bs=${PIECE} count=1 2>&1); _d=\${_l%?+? records in*}; case \${_l#"$_d"} in 0+1*|1+0*) :;; *) false;; esac; do f "E$_d"; done
fi
while IFS= read -r _l; do f "e$_l"; done
[ -z "$_l" ] || f "E$_l"
f z; } >&3 2>/dev/null
sleep 1; f .`

/** With a terminal both streams are one, as the terminal merges them. The wrapper's own words ("Killed") are not the command's. */
const TERMINAL = `${OPENING}{ (r "$@") </dev/null 2>&1; f "x$?"; } 2>/dev/null
f z; sleep 1; f .`

export function wrapped(command: Command, exec: string): Argv {
  const env = Object.entries(command.env ?? {}).map(([name, value]) => `${name}=${value}`)
  return ['/bin/sh', '-c', command.tty ? TERMINAL : SPLIT, 'drover', exec, command.dir ?? '', ...env, '--', ...command.argv]
}

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

/*
 * Arguments: <first half of the exec id> <pid or -> <second half>: apart, so that this program does not find itself.
 * TERM, 2 s to end, KILL, 2 s to be gone; old busybox sleeps whole seconds only.
 * A process belongs when its environment or command line holds the id, when its session is the wrapper's, or when its parent belongs (`su` makes
 * environments unreadable). `read` drops NULs in every shell, so no other program is needed. A pid counts with its start time: pids come again.
 * What was seen to be another's stays so (`other`), unless its environment read empty, as it does in the middle of an exec: a scan then costs little.
 * What has the id in its command line is the wrapper itself, and `sleep 1` may be its last act: they end by themselves and get no TERM, so that
 * the command's last words are still delivered.
 */
const KILL = `LC_ALL=C; p=$2 i=$1$3 known= other=
get() { v=; while IFS= read -r l || [ -n "$l" ]; do v="$v $l"; done <"$1"; }
get /proc/$$/stat 2>/dev/null; case $v in *\\)*) :;; *) echo noproc; exit;; esac
get /proc/$p/cmdline 2>/dev/null; case $v in ''|*"$i"*) :;; *) p=-;; esac
scan() { h= t=
for d in /proc/[0-9]*; do
q=\${d#/proc/}; [ "$q" = $$ ] && continue
get $d/stat; set -- \${v##*\\) }
case $1 in Z|X|x|'') continue;; esac
m=; [ "$4" = "$p" ] && m=t; case " $h " in *" $2 "*) m=t;; esac
case "$known " in *" $q:\${20} "*) m=t;; esac
if [ ! "$m" ]; then
case "$other " in *" $q:\${20} "*) continue;; esac
get $d/environ; case $v in *"$i"*) m=t;; ?*) e=1;; *) e=;; esac
fi
get $d/cmdline; case $v in *"$i"*) m=w;; ' sleep1') m=\${m:+w};; esac
[ "$m" ] || { [ ! "$e" ] || other="$other $q:\${20}"; continue; }
h="$h $q"; known="$known $q:\${20}"; [ $m = w ] || t="$t $q"
done; } 2>/dev/null
scan; first=1
for w in 0.1 0.1 0.2 0.3 0.5 0.8; do
scan; [ "$t" ] || break
[ ! "$first" ] || kill -TERM $t; first=
sleep $w || sleep 1
done 2>/dev/null
for w in 0.1 0.1 0.2 0.3 0.5 0.8; do
scan; [ "$h" ] || break
kill -KILL $h; sleep $w || sleep 1
done 2>/dev/null
[ ! "$h" ] || scan
if [ "$h" ]; then echo "left$h"; else echo gone; fi`

export function killCommand(exec: string, pid: number | undefined): Command {
  const middle = Math.ceil(exec.length / 2)
  return {
    argv: [
      '/bin/sh',
      '-c',
      KILL,
      'drover-kill',
      exec.slice(0, middle),
      pid === undefined ? '-' : String(pid),
      exec.slice(middle),
    ],
  }
}

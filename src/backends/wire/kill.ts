/** Ends, in a container with a shell, all that an execution started there, and proves it: one shell program for every kind of engine. */

import { BackendError } from '../../core/errors.ts'
import type { Command, ExecEvent, ExecHandle } from '../../core/model.ts'
import type { KillResult } from '../../core/ports.ts'

/*
 * Arguments: <first half of the exec id> <pid or -> <second half> <not empty: the engine vouches for the pid>: the halves apart, so that this
 * program does not find itself.
 * TERM, 2 s to end, KILL, 2 s to be gone; old busybox sleeps whole seconds only.
 * A process belongs when its environment or command line holds the id, when its session is the wrapper's or was made by one that belongs, or when
 * its parent belongs (`su` makes environments unreadable). /proc comes in the order of text, 10 before 9, so that a child may come before its
 * parent: nothing is ended before a scan has found no more than the one before it. `read` drops NULs in every shell, so no other program is
 * needed. A pid counts with its start time: pids come again.
 * What was seen to be another's stays so (`other`), unless its environment read empty, as it does in the middle of an exec: a scan then costs little.
 * What has the id in its command line is the wrapper itself, and `sleep 1` may be its last act: they end by themselves and get no TERM, so that
 * the command's last words are still delivered.
 */
const KILL = `LC_ALL=C; p=$2 i=$1$3 known= other= sids=
get() { v=; while IFS= read -r l || [ -n "$l" ]; do v="$v $l"; done <"$1"; }
get /proc/$$/stat 2>/dev/null; case $v in *\\)*) :;; *) echo noproc; exit;; esac
[ "$4" ] || { get /proc/$p/cmdline; case $v in ''|*"$i"*) :;; *) p=-;; esac; } 2>/dev/null
scan() { h= t=
for d in /proc/[0-9]*; do
q=\${d#/proc/}; [ "$q" = $$ ] && continue
get $d/stat; set -- \${v##*\\) }
case $1 in Z|X|x|'') continue;; esac
m= o=$2 s=$4 u=$q:\${20}; case "$p$sids " in "$s "*|*" $s "*) m=t;; esac
case "$known " in *" $u "*) m=t;; *" $o:"*) get /proc/$o/stat; set -- \${v##*\\) }
case "$known " in *" $o:\${20} "*) m=t;; esac;; esac
if [ ! "$m" ]; then
case "$other " in *" $u "*) continue;; esac
get $d/environ; case $v in *"$i"*) m=t;; ?*) e=1;; *) e=;; esac
fi
get $d/cmdline; case $v in *"$i"*) m=w;; ' sleep1') m=\${m:+w};; esac
[ "$m" ] || { [ ! "$e" ] || other="$other $u"; continue; }
[ "$q" != "$s" ] || sids="$sids $s"
h="$h $q"; known="$known $u"; [ $m = w ] || t="$t $q"
done; } 2>/dev/null
b=-; for w in 1 2 3 4 5 6 7 8 9; do scan; [ "$h" != "$b" ] || break; b=$h; done
first=1
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

/** `isLeader`: the engine says that `pid` is the execution's first process, and alive. */
export function killCommand(exec: string, pid: number | undefined, isLeader = false): Command {
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
      ...(isLeader ? ['leader'] : []),
    ],
  }
}

/** What the program's words on stdout prove; anything but its own `gone` proves nothing. */
export function killResult(said: string, handle: ExecHandle): KillResult {
  if (said.trim() === 'gone') return { result: 'gone' }
  const pid = /^left (\d+)/.exec(said)?.[1] ?? handle.pid
  return pid === undefined ? { result: 'left' } : { result: 'left', pid: Number(pid) }
}

/** The most that the program's words can be. */
export const KILL_WORDS_BYTES = 4096

export type Looking = {
  readonly handle: ExecHandle
  /** Runs it in the container, under an exec id of its own. */
  readonly run: (command: Command, exec: string) => AsyncIterable<ExecEvent>
  /** With its container every process of it ends. */
  readonly isDead: () => Promise<boolean>
}

/** The kill where an engine has nothing but its exec to look inside with. */
export async function killThroughExec({ handle, run, isDead }: Looking): Promise<KillResult> {
  const decoder = new TextDecoder()
  let said = ''
  try {
    for await (const event of run(killCommand(handle.exec, handle.pid), crypto.randomUUID().replaceAll('-', ''))) {
      if (event.type === 'output' && event.stream === 'stdout')
        said = (said + decoder.decode(event.data, { stream: true })).slice(0, KILL_WORDS_BYTES)
    }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    // No shell to look with, so there is no proof.
    if (error.code === 'command_not_found') return killResult('', handle)
    if ((error.code === 'backend_not_found' || error.code === 'not_running') && (await isDead())) return { result: 'gone' }
    throw error
  }
  return killResult(said, handle)
}

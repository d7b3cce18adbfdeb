/** Whether an argv is text for a shell: what needs the right `shell`, whatever a rule's patterns take. */

import type { Argv } from './model.ts'

/** Programs that run text: shells, and those that hand their arguments to one. */
const shells = new Set(
  'sh ash bash dash zsh ksh mksh oksh posh rbash yash fish csh tcsh busybox toybox pwsh powershell cmd su runuser watch script parallel nsenter chroot unshare capsh strace ltrace setarch linux32 linux64 i386 x86_64'.split(
    ' ',
  ),
)
/** Programs that run the program named in their arguments. */
const launchers = new Set(
  'env nice ionice nohup timeout setsid stdbuf chrt taskset time command exec sudo doas gosu su-exec setpriv xargs find flock tini dumb-init s6-setuidgid start-stop-daemon'.split(
    ' ',
  ),
)

const program = (arg: string) => (/[^/\\]*$/.exec(arg)?.[0] ?? '').toLowerCase().replace(/\.exe$|[-.]static$/, '')

/**
 * The argv hands text to a shell, or is one: `["/bin/sh","-c",…]` and its like, also behind `env`, `sudo`, `xargs`.
 * Interpreters of other languages are not looked for: a rule that allows `python` allows what python can do.
 */
export function usesShell(argv: Argv): boolean {
  const [first, ...rest] = argv
  // `/proc/self/exe` is drover's own wrapper shell; `/proc/1/exe` is whatever runs there; a loader runs any program.
  if (shells.has(program(first)) || first.startsWith('/proc/') || /^ld(-linux|-musl|\.so|64)/.test(program(first))) return true
  // Options by which a launcher takes text for a shell, or starts one of its own: `env -S…`, `flock -c`, `sudo -s`.
  if (launchers.has(program(first)) && rest.some((arg) => /^-[a-zA-Z]*[Scsi]|^--(split-string|command|shell|login)/.test(arg)))
    return true
  // `env -S` takes one text and splits it itself.
  return launchers.has(program(first)) && rest.some((arg) => arg.split(/[\s=]+/).some((word) => shells.has(program(word))))
}

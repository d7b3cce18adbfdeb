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

/** Options by which launchers take text for a shell, or start one. */
const textOptions = ['--split-string', '--command', '--shell', '--login']
/** Also `zsh5`, `ksh93`, `bash-5.2`, `busybox-x86_64`. */
const isShell = (arg: string) => {
  const name = program(arg)
  return shells.has(name) || shells.has(name.replace(/[-.]?[0-9][0-9.]*$/, '')) || name.startsWith('busybox')
}

/** getopt_long takes the begin of an option for the whole of it: `--split`. */
const isShort = (arg: string, option: string) => {
  const [given = ''] = arg.split('=', 1)
  return given.length > 2 && (option.startsWith(given) || given.startsWith(option))
}

const program = (arg: string) => (/[^/\\]*$/.exec(arg)?.[0] ?? '').toLowerCase().replace(/\.exe$|[-.]static$/, '')

/**
 * The argv hands text to a shell, or is one: `["/bin/sh","-c",…]` and its like, also behind `env`, `sudo`, `xargs`.
 * Interpreters of other languages are not looked for: a rule that allows `python` allows what python can do.
 */
export function usesShell(argv: Argv): boolean {
  const [first, ...rest] = argv
  // `/proc/self/exe` is drover's own wrapper shell; `/proc/1/exe` is whatever runs there; a loader runs any program.
  if (isShell(first) || first.startsWith('/proc/') || /^ld(-linux|-musl|\.so|64)/.test(program(first))) return true
  // Options by which a launcher takes text for a shell, or starts one of its own: `env -S…`, `flock -c`, `sudo -s`.
  if (
    launchers.has(program(first)) &&
    rest.some((arg) => /^-[a-zA-Z]*[Scsi]/.test(arg) || textOptions.some((one) => isShort(arg, one)))
  )
    return true
  // `env -S` takes one text and splits it itself.
  return launchers.has(program(first)) && rest.some((arg) => arg.split(/[\s=]+/).some(isShell))
}

/** What an engine writes in place of output when it could not start a command, in words a person can act on. */

import { BackendError, type Failure } from '../../core/errors.ts'

/** Beginnings of such texts: Docker 20.10 to 29 say the first, older ones and Podman the others. */
const BEGINNINGS = [
  'OCI runtime exec failed',
  'OCI runtime attempted to invoke',
  'OCI permission denied',
  'oci runtime error',
  'rpc error: code',
  'Error: Exec command',
  'cannot exec in a ',
  'unable to find user ',
  'crun: ',
]

/** Longer than any such text. */
export const ENGINE_TEXT_BYTES = 4096

/** Whether what came so far may be, or become, an engine's words: they are one line and the last. */
export function mayBeEngine(text: string): boolean {
  const begin = text.trim()
  return !begin.includes('\n') && BEGINNINGS.some((one) => begin.startsWith(one.slice(0, begin.length)))
}

/** For an exec that never had a process of its own: `text` is all that came of it. */
export function startFailure(
  text: string,
  command: { readonly executable: string; readonly dir?: string; readonly user?: string },
): BackendError {
  const no = (code: Failure['code'], message: string, next: string) => new BackendError({ code, message, next }, { ran: 'no' })
  const said = text
    .replaceAll(/[\x00-\x20]+/g, ' ')
    .trim()
    .slice(0, 300)
  if (/unable to find (user|group)|no matching entries in (passwd|group)|unknown user|user: unknown/i.test(said))
    return no(
      'unsupported',
      `There is no user ${command.user ?? ''} in the container, so nothing was started.`,
      'Give user= a name or number that it knows.',
    )
  if (/chdir to cwd|working directory|getcwd|\bcwd\b/i.test(said))
    return no(
      'command_not_found',
      `The directory ${command.dir ?? ''} is not there, or may not be entered, so the command was not started.`,
      'Check dir= against the files of the container.',
    )
  if (/argument list too long/i.test(said))
    return no(
      'unsupported',
      'The command is longer than the container’s system takes (128 KiB for one argument).',
      'Make it shorter.',
    )
  if (/executable file not found|no such file or directory|not found|stat .*no such/i.test(said))
    return no('command_not_found', `There is no ${command.executable} in the container.`, 'Use a program that the image has.')
  if (/permission denied|exec format error|is a directory/i.test(said))
    return no(
      'command_not_found',
      `${command.executable} cannot be run in the container: ${said}`,
      'Look at its rights and at what it was built for.',
    )
  if (/is paused/i.test(said)) return no('not_running', 'The container is paused.', 'Unpause it first.')
  if (/(is )?not running|stopped container|no running task/i.test(said))
    return no('not_running', 'The container is no longer running.', 'Start it, or choose one that runs.')
  return no(
    'backend_unavailable',
    `The engine could not start it${said ? `: ${said}` : ''}.`,
    'Look at the container on its host.',
  )
}

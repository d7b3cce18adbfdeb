/** A command as the docker client in a temporary service runs it, and what that client says when it could not. */

import { BackendError } from '../../core/errors.ts'
import type { Command } from '../../core/model.ts'
import { refusal } from '../docker/api.ts'
import { MARKER, refuseUnsupported } from '../docker/exec.ts'
import { mayBeEngine, startFailure } from '../docker/start-failure.ts'
import { lost } from './states.ts'

/** Of a swarm's store, which keeps the whole of a service: 1.5 MB is the most that it takes at once. */
const MAX_BYTES = 512 * 1024
/** As base64 it has to be one variable, and Linux takes 128 KiB for one. */
export const MAX_STDIN_BYTES = 64 * 1024

const INPUT = 'DROVER_STDIN'
/** There is no way in to a service: the input comes as a variable, and the command gets it without that variable. */
const FEED = `command -v base64 >/dev/null 2>&1 || { echo "drover: no base64 $${MARKER}" >&2; exit 127; }
i=$${INPUT}; unset ${INPUT}
printf %s "$i" | base64 -d | exec "$@"`

/*
 * As the first process it gets the signals that are sent to its container, in the place of the docker client, which makes a success of a
 * TERM (docker/cli 28), whatever became of the command. Where all of a container is ended, as when its machine goes down, the client got
 * it too: then its code proves nothing.
 */
const CLIENT = `trap 's=1' TERM INT HUP QUIT
e=$1 h=$2; shift 2
command -v docker >/dev/null 2>&1 || { echo "drover: no docker $e" >&2; exit 127; }
docker -H "$h" exec "$@"; c=$?
[ ! "$s" ] || { echo "drover: signalled $e" >&2; exit 137; }
exit $c`

/** What a temporary service runs: the docker client with `args` behind `docker exec`, and its exit code. */
export const serviceCommand = (exec: string, socket: string, args: readonly string[]): readonly string[] => [
  ...['/bin/sh', '-c', CLIENT, 'drover-client', exec, `unix://${socket}`],
  ...args,
]

/** Behind `docker exec`. Throws BackendError `unsupported` for what cannot go this way. */
export function clientArgs(command: Command, exec: string, container: string): readonly string[] {
  refuseUnsupported(command, command.stdin !== undefined)
  const fed = command.stdin === undefined ? undefined : new TextEncoder().encode(command.stdin)
  if (fed && fed.byteLength > MAX_STDIN_BYTES)
    throw unsupported(
      `Through a temporary service stdin= takes ${MAX_STDIN_BYTES / 1024} KiB at most, and this is ${Math.ceil(fed.byteLength / 1024)}.`,
      'Whoever runs drover can give it a way of its own to this node (nodes:).',
    )
  if (command.env && INPUT in command.env) throw unsupported(`${INPUT} is how drover hands stdin= over.`, 'Use another name.')
  const env = { ...command.env, [MARKER]: exec, ...(fed ? { [INPUT]: base64(fed) } : {}) }
  const args = [
    ...Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
    ...(command.dir === undefined ? [] : ['-w', command.dir]),
    ...(command.user === undefined ? [] : ['-u', command.user]),
    ...(command.tty ? ['-t'] : []),
    container,
    ...(fed ? ['/bin/sh', '-c', FEED, 'drover-stdin'] : []),
    ...command.argv,
  ]
  const size = args.reduce((sum, one) => sum + new TextEncoder().encode(one).byteLength + 1, 0)
  if (size > MAX_BYTES)
    throw unsupported(
      `The command is ${Math.ceil(size / 1024)} KiB long, and a temporary service takes ${MAX_BYTES / 1024}.`,
      'Make it shorter; whoever runs drover can give it a way of its own to this node (nodes:).',
    )
  return args
}

function base64(bytes: Uint8Array): string {
  let text = ''
  // In pieces: a call takes only so many arguments.
  for (let at = 0; at < bytes.byteLength; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return btoa(text)
}

/** Beginnings of the client's own words (docker/cli). */
const CLIENT_WORDS = [
  'Error response from daemon: ',
  'Error: No such ',
  'Cannot connect to the Docker daemon',
  'permission denied while trying to connect',
  'Got permission denied while trying to connect',
  'drover: no base64 ',
  'drover: no docker ',
]

/** Whether what came so far may be, or become, words of the engine or of its client instead of the command's: one line and the last. */
export function mayBeRefusal(text: string): boolean {
  const begin = text.trim()
  return mayBeEngine(text) || (!begin.includes('\n') && CLIENT_WORDS.some((one) => begin.startsWith(one.slice(0, begin.length))))
}

/** The words are shorter than this. */
export const REFUSAL_BYTES = 2048

export type Said = {
  readonly code: number
  /** All that came, where that may be a refusal. */
  readonly all: string | undefined
  /** The last that came on stderr. */
  readonly tail: string
}

/** Undefined: the code is the command's own. */
export function clientFailure(
  { code, all, tail }: Said,
  { command, exec, name }: { readonly command: Command; readonly exec: string; readonly name: string },
): BackendError | undefined {
  const text = all?.trim() ?? ''
  const what = `the container ${name}`
  if (tail.trimEnd().endsWith(`drover: signalled ${exec}`))
    return lost('Its temporary service got a signal from outside, and nobody can say whether the command did, too.')
  if (text === `drover: no docker ${exec}`)
    return new BackendError(
      {
        code: 'config',
        message: 'The image of the temporary service has no docker client.',
        next: 'Whoever runs drover can name one that has, such as that of docker:cli, by its digest.',
      },
      { ran: 'no' },
    )
  if (
    command.stdin !== undefined &&
    (text === `drover: no base64 ${exec}` || (isEngine(code, text) && text.includes('"/bin/sh"')))
  )
    return unsupported(
      `Through a temporary service stdin= needs /bin/sh and base64 in the container, and ${name} lacks one of them.`,
      'Whoever runs drover can give it a way of its own to this node (nodes:).',
    )
  if (isEngine(code, text))
    return startFailure(text, {
      executable: command.argv[0],
      ...(command.dir === undefined ? {} : { dir: command.dir }),
      ...(command.user === undefined ? {} : { user: command.user }),
    })
  if (code !== 1) return undefined
  if (/^Error( response from daemon)?: No such container: [0-9a-f]{64}$/.test(text))
    return refusal({ status: 404, body: '' }, what)
  if (/^Error response from daemon: [Cc]ontainer [0-9a-f]{64} is (not running|paused)/.test(text))
    return refusal({ status: 409, body: text }, what)
  if (/^(Cannot connect to the Docker daemon|(Got )?permission denied while trying to connect)/.test(text))
    return new BackendError(
      {
        code: 'config',
        message: 'The temporary service does not get through to the engine of its node.',
        next: 'Check that temporaryService.socket is the engine’s socket on every node.',
      },
      { ran: 'no' },
    )
  if (/(^|\n)Error( response from daemon)?: No such (exec instance|container)[^\n]*$/.test(tail.trimEnd()))
    return lost(`The container ${name} was removed while the command ran; how it ended is not recorded.`)
  return undefined
}

/** Longer than any of the beginnings: a word alone is none. */
const isEngine = (code: number, text: string) => code >= 126 && code <= 128 && text.length > 30 && mayBeEngine(text)

const unsupported = (message: string, next: string) => new BackendError({ code: 'unsupported', message, next }, { ran: 'no' })

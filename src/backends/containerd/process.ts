/** The process document for a command: the container's own, with the command's arguments and options. */

import { BackendError } from '../../core/errors.ts'
import type { Command } from '../../core/model.ts'
import type { Spec } from './container.ts'

/** Processes carry it, and so the kill finds them again. */
const MARKER = 'DROVER_EXEC'

/** Where a container names none, as Docker does. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export type Ids = { readonly uid: number; readonly gid: number; readonly additionalGids?: readonly number[] }

const no = (message: string, next: string) => new BackendError({ code: 'unsupported', message, next }, { ran: 'no' })

export function refuseUnsupported(command: Command): void {
  if (command.dir !== undefined && !command.dir.startsWith('/')) throw no('The directory must be absolute.', 'Begin it with /.')
  if (command.tty && command.stdin !== undefined)
    throw no('With a terminal nothing can tell the command where its stdin ends.', 'Leave out tty=1, or stdin.')
  const env = Object.entries(command.env ?? {})
  const strings = [...command.argv, command.dir ?? '', command.user ?? '', ...env.map((pair) => pair.join('='))]
  if (strings.some((one) => one.includes('\0'))) throw no('A NUL byte cannot be part of a command.', 'Take it out.')
  // Linux, MAX_ARG_STRLEN; runc would tell it as output of the command.
  const longest = Math.max(...strings.map((one) => new TextEncoder().encode(one).byteLength))
  if (longest >= 131_072)
    throw no('The command is longer than the container’s system takes (128 KiB for one argument).', 'Make it shorter.')
  if (env.some(([name]) => name === MARKER)) throw no(`${MARKER} is how drover finds the command again.`, 'Use another name.')
  const wrong = env.find(([name]) => name === '' || name.includes('='))
  if (wrong) throw no(`There can be no variable named ${JSON.stringify(wrong[0])}.`, 'Name it without =.')
}

/** Capabilities, limits and confinement stay the container's (OCI runtime spec, `process`). */
export function processOf(base: NonNullable<Spec['process']>, command: Command, exec: string, ids?: Ids): object {
  const hasPath = (base.env ?? []).some((one) => one.startsWith('PATH='))
  const added = { ...(hasPath ? {} : { PATH }), ...(command.tty ? { TERM: 'xterm' } : {}), ...command.env, [MARKER]: exec }
  // Of two variables with one name programs may take either, so none is left behind.
  const kept = (base.env ?? []).filter((one) => !Object.hasOwn(added, one.slice(0, one.indexOf('='))))
  const { consoleSize: _, ...rest } = base
  return {
    ...rest,
    args: command.argv,
    env: [...kept, ...Object.entries(added).map(([name, value]) => `${name}=${value}`)],
    cwd: command.dir ?? base.cwd ?? '/',
    terminal: command.tty ?? false,
    ...(ids === undefined ? {} : { user: { uid: ids.uid, gid: ids.gid, additionalGids: ids.additionalGids ?? [] } }),
  }
}

/** `1000:1000`, which needs no look into the container. */
export function idsIn(user: string): Ids | undefined {
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(user) ?? []
  if (uid === undefined || gid === undefined) return undefined
  const ids = { uid: Number(uid), gid: Number(gid) }
  // The largest is "no id" for the kernel.
  if (Math.max(ids.uid, ids.gid) > 0xfffffffe) throw no(`${user} is no user and group id.`, 'Ids go up to 4294967294.')
  return ids
}

/** What names mean is in the container: `text` holds its /etc/passwd and /etc/group, told apart by their columns. */
export function idsFrom(text: string, user: string): Ids {
  const [name = '', group] = user.split(':', 2)
  const rows = text.split('\n').map((line) => line.split(':'))
  const groups = rows.filter((row) => row.length === 4)
  const found = rows.filter((row) => row.length === 7).find(([login, , uid]) => login === name || uid === name)
  const number = (digits: string | undefined) => (/^\d{1,10}$/.test(digits ?? '') ? Number(digits) : undefined)
  const uid = number(found?.[2])
  const gid = group === undefined ? number(found?.[3]) : number(groups.find(([one, , id]) => one === group || id === group)?.[2])
  if (found === undefined || uid === undefined)
    throw no(`The container’s /etc/passwd has no user ${name}.`, 'Name one that is there, or give numbers: user=1000:1000.')
  if (gid === undefined) throw no(`The container’s /etc/group has no group ${group ?? ''}.`, 'Give numbers: user=1000:1000.')
  const member = groups.filter(([, , , members]) => members?.split(',').includes(found[0] ?? ''))
  const additionalGids = group === undefined ? member.flatMap(([, , id]) => number(id) ?? []) : []
  return { uid, gid, additionalGids }
}

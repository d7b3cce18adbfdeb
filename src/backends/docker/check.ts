/** What `drover check` says of a Docker Engine. */

import * as z from 'zod'
import { counted } from '../../core/counted.ts'
import { DroverError } from '../../core/errors.ts'
import type { CheckLine } from '../../core/ports.ts'
import { type Api, messageOf, parsed } from './api.ts'
import { Listed, listPath } from './container.ts'
import type { Logins } from './logins.ts'

const Info = z.object({
  Name: z.string().nullish(),
  ServerVersion: z.string().nullish(),
  OperatingSystem: z.string().nullish(),
  SecurityOptions: z.array(z.string()).nullish(),
})

export async function check(
  api: Api,
  options: { readonly helperImage?: string; readonly logins?: Logins | undefined },
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  try {
    const engine = await api.engine(signal)
    const { address, plaintext } = engine.endpoint
    lines.push({ ok: true, what: `a container engine answers at ${address}`, detail: `${engine.server}, API ${engine.version}` })
    if (plaintext)
      lines.push({
        ok: 'warn',
        what: 'the connection is not encrypted and asks for no credentials',
        next: 'Whoever reaches this port owns that host: use tcp:// with tls:, or ssh://.',
      })
    lines.push(await rootless(api, signal))
    const listed = parsed(
      await api.request({ method: 'GET', path: listPath({}), signal }),
      z.array(Listed),
      'the list of containers',
    )
    lines.push({
      ok: listed.length > 0 ? true : 'warn',
      what: `${counted(listed.length, 'running container is', 'running containers are')} visible`,
      ...(listed.length > 0 ? {} : { next: 'Is it the right engine? Through an agent, its own list (allow:) hides all others.' }),
    })
    lines.push(await mayExec(api, signal))
    if (options.helperImage !== undefined) lines.push(await helper(api, options.helperImage, signal))
    if (options.logins !== undefined)
      lines.push({ ok: true, what: 'logins for registries can be read', detail: await options.logins.told() })
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    lines.push({ ok: false, what: error.message, ...(error.next ? { next: error.next } : {}) })
  }
  return lines
}

async function rootless(api: Api, signal: AbortSignal): Promise<CheckLine> {
  const response = await api.request({ method: 'GET', path: '/info', signal })
  if (response.status === 403)
    return { ok: 'warn', what: 'the engine’s name is not told (/info is forbidden)', next: 'host= then matches nothing here.' }
  const { Name, ServerVersion, OperatingSystem, SecurityOptions } = parsed(response, Info, '/info')
  const own = (SecurityOptions ?? []).some((one) => /^name=(rootless|userns)/.test(one))
  return {
    ok: true,
    what: `the engine ${Name ?? ''} ${ServerVersion ?? ''} on ${OperatingSystem ?? 'an unknown system'}`,
    detail: own
      ? 'root in its containers is not root on the host; who may use this connection still owns all its containers'
      : 'who may use this connection is root on that host',
  }
}

/** Asked of a container that cannot be: 404 means that it would have been looked for. */
async function mayExec(api: Api, signal: AbortSignal): Promise<CheckLine> {
  const response = await api.request({
    method: 'POST',
    path: '/containers/drover-check-asks-for-no-container/exec',
    body: { Cmd: ['true'] },
    signal,
  })
  if (response.status === 404) return { ok: true, what: 'commands can be run' }
  return {
    ok: false,
    what: `commands cannot be run: HTTP ${response.status} ${messageOf(response)}`,
    next: 'A socket proxy or authorization plugin has to allow exec and POST.',
  }
}

async function helper(api: Api, image: string, signal: AbortSignal): Promise<CheckLine> {
  const response = await api.request({ method: 'GET', path: `/images/${encodeURIComponent(image)}/json`, signal })
  return response.status === 200
    ? { ok: true, what: `the helper image ${image} is there` }
    : { ok: false, what: `the helper image ${image} is not on the engine`, next: 'Pull it there; it needs /bin/sh.' }
}

/** A Kubernetes node without its API server: pods by the node's own runtime service, commands by Kubernetes' exec protocol on its loopback. */

import { counted } from '../../core/counted.ts'
import { BackendError } from '../../core/errors.ts'
import type { Selector, Target, Traits } from '../../core/model.ts'
import type { Backend, CheckLine } from '../../core/ports.ts'
import { matches } from '../../core/selector.ts'
import { type Connection, execute } from '../kubernetes/exec.ts'
import { killBy } from '../kubernetes/kill.ts'
import type { Transport } from '../transport.ts'
import { targetsOf } from './container.ts'
import { type Cri, criOf } from './cri-engine.ts'
import { EngineError } from './engine.ts'
import { notMade, refusal } from './errors.ts'
import type { Slots } from './slots.ts'

const traits: Traits = {
  exitCode: true,
  separateStderr: true,
  stdin: true,
  env: true,
  dir: true,
  user: false,
  tty: true,
  kill: true,
}
const times = { connectMs: 15_000, startMs: 30_000, keepAliveMs: 20_000 }
/** A background child may hold the output open after the end, and the runtime waits for it without a limit (containerd, CRI-O). */
const REST_MS = 2_000

export function criBackend(
  { name, address }: { readonly name: string; readonly address: string },
  { transport, slots, killSlots }: { readonly transport: Transport; readonly slots: Slots; readonly killSlots: Slots },
): Backend {
  const cri = criOf(address)
  const connection: Connection = {
    times,
    restMs: REST_MS,
    async dial({ native, name: target }, { argv, stdin, tty, protocols }, { signal }) {
      const url = await cri
        .exec({ containerId: native, cmd: argv, tty, stdin, stdout: true, stderr: !tty }, signal)
        .catch((error: unknown) => {
          throw notPrepared(error, target, address)
        })
      return await transport.socket(onLoopback(url).replace(/^http/, 'ws'), { protocols, signal })
    },
    refusal: async ({ status }, { what, ran = 'no' }) =>
      new BackendError(
        {
          code: 'backend_unavailable',
          message: `The node’s runtime answered ${what} with HTTP ${status}.`,
          next: 'Look into its log; `drover check` tells more.',
        },
        { ran },
      ),
  }
  async function* inPlace<T>(places: Slots, target: Target, signal: AbortSignal, events: () => AsyncIterable<T>) {
    const leave = await places.enter(target.native, signal)
    try {
      yield* events()
    } finally {
      leave()
    }
  }
  const found: Backend['list'] = async (selector, signal) => {
    try {
      return await list(cri, name, selector, signal)
    } catch (error) {
      throw refusal(error, { address, about: 'the containers of this node' })
    }
  }
  return {
    name,
    kind: 'containerd',
    traits,
    list: found,
    exec: (target, command, exec, signal) =>
      inPlace(slots, target, signal, () => execute(connection, { target, command, exec, signal })),
    async kill(target, handle, signal) {
      const leave = await killSlots.enter(target.native, signal)
      try {
        const isGone = async (until: AbortSignal) => !(await cri.isRunning(target.native, until))
        return await killBy(connection, isGone, { target, handle, signal })
      } catch (error) {
        throw refusal(error, { address, about: `the container ${target.name}` })
      } finally {
        leave()
      }
    },
    check: (signal) => check(cri, address, found, signal),
  }
}

/** Only what may be meant is asked about one by one: its image and what it may do are in no list. */
async function list(cri: Cri, backend: string, selector: Selector, signal: AbortSignal): Promise<readonly Target[]> {
  const { containers, sandboxes } = await cri.running(signal)
  const ids = new Set(containers.map(({ id }) => id))
  const { image: _, ...facets } = selector.facets ?? {}
  const meant = new Set(
    targetsOf([...sandboxes, ...containers], ids, backend)
      .filter((target) => matches({ ...selector, facets }, target))
      .map(({ native }) => native),
  )
  const some = containers.filter(({ id }) => meant.has(id))
  const pods = new Set(some.map(({ pod }) => pod))
  const [inspected, inspectedSandboxes] = await Promise.all([
    cri.inspected(some, signal),
    cri.inspectedSandboxes(
      sandboxes.filter(({ id }) => pods.has(id)),
      signal,
    ),
  ])
  return targetsOf([...inspectedSandboxes, ...inspected], ids, backend)
}

/** Before its websocket is opened nothing has begun. */
function notPrepared(error: unknown, name: string, address: string): unknown {
  if (error instanceof EngineError && /CONTAINER_(EXITED|CREATED|UNKNOWN)/.test(error.message))
    return notMade(new EngineError('NOT_FOUND', error.message, { cause: error }), name, address)
  return notMade(error, name, address)
}

/** What goes over the wire is not encrypted, and who has the address runs the command. */
function onLoopback(url: string): string {
  const { protocol, hostname, origin } = URL.canParse(url) ? new URL(url) : { protocol: '', hostname: '', origin: 'no address' }
  if (protocol === 'http:' && (/^127(\.\d+){3}$/.test(hostname) || hostname === '[::1]')) return url
  throw new BackendError(
    {
      code: 'unsupported',
      message: `The node’s runtime hands commands on at ${origin}, and drover takes them only unencrypted on its loopback.`,
      next: 'Set stream_server_address = "127.0.0.1" and enable_tls_streaming = false in the CRI part of containerd’s config.toml.',
    },
    { ran: 'no' },
  )
}

async function check(cri: Cri, address: string, found: Backend['list'], signal: AbortSignal): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  try {
    const { runtimeName, runtimeVersion } = await cri.version(signal)
    lines.push(
      { ok: true, what: `the runtime service answers at ${address}`, detail: `${runtimeName} ${runtimeVersion}` },
      {
        ok: 'warn',
        what: 'the way to this socket is the way to root on its machine',
        next: 'Let nobody but drover’s own user have it, and keep rules for this backend narrow.',
      },
    )
    const targets = await found({}, signal)
    lines.push({ ok: targets.length > 0 ? true : 'warn', what: counted(targets.length, 'running container') })
    const [first] = targets
    if (first) {
      // Asked for and not opened, it runs nothing.
      const request = { containerId: first.native, cmd: ['true'], tty: false, stdin: false, stdout: true, stderr: true }
      const { host } = new URL(onLoopback(await cri.exec(request, signal)))
      lines.push({ ok: true, what: `commands are handed on at ${host}` })
    }
  } catch (error) {
    const shown = refusal(error, { address, about: 'its containers' })
    if (!(shown instanceof BackendError)) throw error
    lines.push({ ok: false, what: shown.message, ...(shown.next ? { next: shown.next } : {}) })
  }
  return lines
}

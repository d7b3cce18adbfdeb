/** A container made for one command: leased, prepared, made, started, waited for, removed; ended with all that is in it. */

import { BackendError } from '../../core/errors.ts'
import type { Command, ExecEvent, ExecHandle, NewContainer, Stream, Target } from '../../core/model.ts'
import type { KillResult } from '../../core/ports.ts'
import type { NamedPipes } from '../machine.ts'
import { bytesOf, DEADLINE_LABEL, EXEC_LABEL, HELPER_LABEL, LONGEST_MS, noneMade } from '../wire/new-container.ts'
import { type Engine, EngineError } from './engine.ts'
import { givenUp, lost, notCreated, notStarted, refusal } from './errors.ts'
import { both, type Connection, END_OF_INPUT, execIdOf, feed, pipesFor, stdinOf, unlessAborted, userFiles } from './exec.ts'
import { type ImageConfig, type Images, incomplete } from './image.ts'
import { isDown } from './kill.ts'
import { type Arriving, together } from './output.ts'
import { type Ids, idsFrom, idsIn, refuseUnsupported } from './process.ts'
import type { ContainerdSettings } from './settings.ts'
import { type Confinement, specOfNew } from './spec.ts'

/** What containers are made with, where an administrator lets them be made. */
export type Maker = {
  readonly bounds: NonNullable<ContainerdSettings['newContainers']>
  readonly images: Images
  readonly namespace: string
  readonly snapshotter: string
  /** What this machine's kernel and files let a container have. */
  confinement(network: Confinement['network']): Promise<Pick<Confinement, 'limitsSwap' | 'hostFiles'>>
}
export type What = {
  readonly target: Target
  readonly creates: NewContainer
  readonly command: Command
  readonly exec: string
  readonly signal: AbortSignal
  /** How long it may last; whatever is there after that, and some minutes, is swept away. */
  readonly lastsMs?: number | undefined
}

const SPEC_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Spec'
/** From the snapshot to the container that refers to it. */
const LEASE_MS = 10 * 60_000
/** The rest of the output, after everything in the container has ended. */
const REST_MS = 2_000
const TERM_MS = 2_000
/** As dexec gives. */
const GRACE_MS = 300_000
const ENDED_MS = 5_000
const REMOVED_MS = 15_000
const LOOK_MS = 50
const SIGTERM = 15
const SIGKILL = 9

export async function* executeNew(connection: Connection, maker: Maker | undefined, what: What): AsyncGenerator<ExecEvent> {
  if (maker === undefined) throw noneMade()
  const { engine, making, live } = connection
  const { command, exec, signal } = what
  refuseUnsupported(command)
  if (signal.aborted) throw givenUp('no', signal.reason)
  const made = Promise.withResolvers<void>()
  making.set(exec, made.promise)
  let code: number
  try {
    const { image, ids } = await lookedAt(connection, maker, what)
    live.add(exec)
    try {
      code = yield* makeAndRun(connection, maker, what, { image, ids, isMade: made.resolve })
    } finally {
      // Whatever happened: nobody else ends it, and nobody else needs it. What is told as ended is gone.
      await remove(engine, execIdOf(exec), maker.snapshotter)
    }
  } finally {
    live.delete(exec)
    making.delete(exec)
    made.resolve()
  }
  yield { type: 'exit', code }
}

type Begin = { readonly image: ImageConfig; readonly ids: Ids }

async function lookedAt(connection: Connection, maker: Maker, what: What): Promise<Begin> {
  const [image] = await Promise.all([
    maker.images.configOf(what.creates.image, what.signal),
    swept(connection.engine, connection.address, what.signal),
  ])
  return { image, ids: await userOf(connection, maker, what, image) }
}

/** Names are the image's own: its files say what they mean, and those are read in a container of it. */
async function userOf(connection: Connection, maker: Maker, what: What, image: ImageConfig): Promise<Ids> {
  const user = what.command.user ?? image.user
  if (user === undefined || user === 'root' || user === '0') return { uid: 0, gid: 0 }
  const ids = idsIn(user)
  if (ids) return ids
  const text = await userFiles(
    (command, exec) => executeNew(connection, maker, { ...what, command: { ...command, user: '0:0' }, exec }),
    { name: what.target.name, user },
  )
  const isKnown = text.split('\n').some((line) => line.split(':')[2] === user && line.split(':').length === 7)
  // `USER 1000` in an image that does not know it: what containerd itself takes.
  if (what.command.user === undefined && /^\d{1,10}$/.test(user) && !isKnown) return { uid: Number(user), gid: 0 }
  return idsFrom(text, user)
}

async function* makeAndRun(
  connection: Connection,
  maker: Maker,
  what: What,
  { image, ids, isMade }: Begin & { isMade(): void },
): AsyncGenerator<ExecEvent, number> {
  const { engine, address } = connection
  const { command, exec, signal, target } = what
  const id = execIdOf(exec)
  const main = { containerId: id, execId: '' }
  const input = command.tty ? END_OF_INPUT : command.stdin ? new TextEncoder().encode(command.stdin) : undefined
  const outputs: readonly Stream[] = command.tty ? ['stdout'] : ['stdout', 'stderr']
  const waiting = new AbortController()
  let pipes: NamedPipes | undefined
  let creating: Promise<unknown> | undefined
  let starting: Promise<unknown> | undefined
  try {
    const [rootfs, open] = await both(
      make(connection, maker, what, { image, ids }),
      pipesFor(connection, [...outputs, ...(input ? ['stdin'] : [])], signal),
      (unused) => unused.close(),
    )
    pipes = open
    const sources = await Promise.all(
      outputs.map(async (stream): Promise<Arriving> => ({ stream, data: await open.read(stream, signal) })),
    )
    if (signal.aborted) throw givenUp('no', signal.reason)
    const streams = {
      stdin: input ? open.path('stdin') : '',
      stdout: open.path('stdout'),
      stderr: command.tty ? '' : open.path('stderr'),
      terminal: command.tty ?? false,
    }
    // Not under `signal`: what is under way is not taken back by looking away.
    creating = engine.createTask({ containerId: id, rootfs, ...streams }, waiting.signal)
    await unlessAborted(creating, signal).catch((error: unknown) => {
      throw signal.aborted ? givenUp('no', error) : notCreated(error, command)
    })
    if (signal.aborted) throw givenUp('no', signal.reason)
    const waited = engine.wait(main, waiting.signal)
    waited.catch(() => {})
    starting = engine.start(main, waiting.signal)
    await unlessAborted(starting, signal).catch((error: unknown) => {
      throw notStarted(error, command, target.name)
    })
    isMade()
    const stdin = input && (await stdinOf(open, signal))
    open.handedOver()
    yield { type: 'started', handle: { target: target.id, exec } }
    if (stdin && command.tty) void stdin.send(input)
    else if (stdin) feed(engine, main, stdin, input, signal)
    return (yield* together(sources, { exit: waited, signal, restMs: REST_MS })).code
  } catch (error) {
    if (error instanceof BackendError) throw error
    if (signal.aborted) throw givenUp(starting ? 'maybe' : 'no', error)
    throw starting ? lost(error) : refusal(error, { address, about: 'the new container' })
  } finally {
    // Only what has settled can be removed; each of them has a deadline of its own.
    await Promise.allSettled([creating, starting])
    waiting.abort()
    pipes?.close()
  }
}

/** The container and its root file system; the lease keeps the one until the other refers to it. */
async function make({ engine }: Connection, maker: Maker, what: What, begin: Begin): Promise<readonly unknown[]> {
  const { command, creates, exec, signal, lastsMs } = what
  const { bounds, snapshotter, namespace } = maker
  const id = execIdOf(exec)
  const network = creates.network === 'host' ? 'host' : 'none'
  const deadline = Date.now() + (lastsMs === undefined ? LONGEST_MS : lastsMs + GRACE_MS)
  const spec = specOfNew(
    id,
    { ...begin, command, exec },
    {
      network,
      memoryBytes: creates.memoryBytes ?? bytesOf(bounds.memory),
      cpus: creates.cpus ?? bounds.cpus,
      processes: bounds.processes,
      capabilities: bounds.capabilities,
      readOnly: bounds.readOnly,
      mounts: (creates.mounts ?? []).flatMap((name) => bounds.mounts?.[name] ?? []),
      ...(await maker.confinement(network)),
    },
  )
  await engine.lease(id, LEASE_MS, signal)
  const rootfs = await engine
    .prepare({ snapshotter, key: id, parent: begin.image.snapshot }, id, signal)
    .catch((error: unknown) => {
      throw error instanceof EngineError && error.code === 'NOT_FOUND' ? incomplete(creates.image, namespace, error) : error
    })
  await engine.createContainer(
    {
      id,
      labels: { [HELPER_LABEL]: 'new', [EXEC_LABEL]: exec, [DEADLINE_LABEL]: String(deadline) },
      image: creates.image,
      spec: { typeUrl: SPEC_TYPE, value: new TextEncoder().encode(JSON.stringify(spec)) },
      snapshotter,
      snapshotKey: id,
    },
    signal,
  )
  return rootfs
}

/** With its first process every process of it ends: the kernel's doing, for they are in its pid namespace. */
export async function killNew(
  connection: Connection,
  maker: Maker | undefined,
  handle: ExecHandle,
  signal: AbortSignal,
): Promise<KillResult> {
  const { engine, address, live, making } = connection
  const id = execIdOf(handle.exec)
  const main = { containerId: id, execId: '' }
  try {
    await unlessAborted(making.get(handle.exec) ?? Promise.resolve(), signal)
    if ((await engine.state(main, signal)) === 'running') {
      await engine.signalAll(id, SIGTERM, signal).catch(() => {})
      await ended(engine, id, TERM_MS, signal)
    }
    await engine.signalAll(id, SIGKILL, signal).catch(() => {})
    const isEnded = await ended(engine, id, ENDED_MS, signal)
    // Whoever reads it here will see its end, and remove it; else nobody will.
    if (!live.has(handle.exec)) await remove(engine, id, maker?.snapshotter)
    return { result: isEnded && (await isDown(connection, id, signal)) ? 'gone' : 'left' }
  } catch (error) {
    throw refusal(error, { address, about: 'the new container' })
  }
}

/** Made and not started counts as ended too: nobody will start it now, for whoever makes one here has done so or has given up. */
async function ended(engine: Engine, containerId: string, ms: number, signal: AbortSignal): Promise<boolean> {
  for (const until = Date.now() + ms; ; ) {
    if ((await engine.state({ containerId, execId: '' }, signal)) !== 'running') return true
    if (Date.now() > until) return false
    await pause()
  }
}

/** What a drover that was ended in the middle has left. */
export async function swept(engine: Engine, address: string, signal: AbortSignal): Promise<void> {
  const found = await engine.containers([`labels."${HELPER_LABEL}"==new`], signal).catch((error: unknown) => {
    throw refusal(error, { address, about: 'what an earlier drover left' })
  })
  // Labels of a container may come to be those of an image, and so of containers that are none of drover's: what it made is called by its own execution.
  for (const { id, labels, snapshotter } of found) {
    const { [EXEC_LABEL]: exec, [DEADLINE_LABEL]: deadline } = labels
    if (exec && id === execIdOf(exec) && Number(deadline ?? Number.NaN) < Date.now()) await remove(engine, id, snapshotter)
  }
}

/** All that there is of it, also after the deadline of the rest. Never throws: what is left then has a deadline of its own. */
async function remove(engine: Engine, id: string, snapshotter: string | undefined): Promise<void> {
  const signal = AbortSignal.timeout(REMOVED_MS)
  const isDone = (work: Promise<unknown>): Promise<boolean> =>
    work.then(
      () => true,
      // With nobody to ask there is nothing to wait for either.
      (error: unknown) => error instanceof EngineError && (error.code === 'NOT_FOUND' || error.code === 'UNAVAILABLE'),
    )
  while (!signal.aborted && !(await isDone(engine.removeTask(id, signal)))) {
    await engine.signalAll(id, SIGKILL, signal).catch(() => {})
    await pause()
  }
  await isDone(engine.removeContainer(id, signal))
  await Promise.all([
    snapshotter === undefined ? undefined : isDone(engine.removeSnapshot(snapshotter, id, signal)),
    isDone(engine.endLease(id, signal)),
  ])
}

const pause = () => new Promise((resolve) => setTimeout(resolve, LOOK_MS))

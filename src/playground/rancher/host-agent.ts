/**
 * The host side: what host-api (generation A) and the agent (B0, B) make of Docker's stream before it reaches the proxy.
 * All streams of one host share one tunnel in each direction, and stall together.
 */

import type { EngineContainer, PeerEngine, PeerProcess } from './engine.ts'
import type { Faults } from './faults.ts'
import { createReader } from './reads.ts'

export type Generation = 'A' | 'B0' | 'B'

/** The proxy's side of one websocket. */
export type Client = {
  /** One message; settles when the connection has taken it, false when it is gone. */
  send(data: Uint8Array): Promise<boolean>
  /** `close 1000` with an empty reason: the only ending the proxy knows. */
  close(): void
  /** The TCP connection ends without a close frame. */
  drop(): void
}

export type ExecStart = {
  readonly argv: readonly string[]
  readonly tty: boolean
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
}

export type HostStream = {
  input(data: Uint8Array): void
  resize(columns: number, rows: number): void
  /** The client went away, with or without a close frame. The process is not killed [REC D]. */
  clientGone(): void
}

export type HostAgent = {
  open(container: EngineContainer | undefined, start: ExecStart, client: Client): HostStream
  /** Messages that are not an exec's: log lines, in order with everything else of this host. */
  deliver(client: Client, data: Uint8Array): Promise<void>
  /** The container is gone: what ran in it ends, and its streams with it. */
  killContainer(engineId: string): void
  /** The tunnel is lost: every stream of this host gets `close 1000`; the commands go on. */
  loseTunnel(): void
  close(): void
}

/** Unread bytes of one stream above which its process has to wait. */
const HIGH_WATER = 256 * 1024
/** Messages to a process that does not read, before the reader of all streams stops [AG backend.go]. */
const STDIN_QUEUE = 10
/** Stdin kept for a process of generation A, which stalls nobody else. */
const STDIN_CAP = 64 * 1024 * 1024
const EOT = Uint8Array.of(4)

type Running = {
  readonly engineId: string
  readonly client: Client
  readonly process: PeerProcess
  readonly start: ExecStart
  dropped: boolean
  /** In A the engine's connection of a lost client is let go at the next output: `cat` ends, an idle `sh` stays [REC D]. */
  endAtOutput: boolean
  queued: number
  delivered: number
  messages: number
  unread: number
  unreadBytes: number
}

export function createHostAgent(options: {
  readonly hostId: string
  readonly engine: PeerEngine
  readonly faults: Faults
  readonly generation: () => Generation
  readonly started: (container: EngineContainer, argv: readonly string[]) => void
  /** The agent lost its tunnel by itself. */
  readonly lost: () => void
}): HostAgent {
  const { hostId, engine, faults, generation } = options
  const running = new Set<Running>()
  let outbound: Promise<void> = Promise.resolve()
  let inbound: Promise<void> = Promise.resolve()
  let closed = false

  const stalled = async (gone: () => boolean): Promise<void> => {
    while (faults.stallHost === hostId && !closed && !gone()) await pause(10)
  }

  /** Every message of every stream of this host, one after another. */
  const transmit = (client: Client, data: Uint8Array, gone: () => boolean): Promise<void> => {
    outbound = outbound.then(async () => {
      await stalled(gone)
      if (gone() || closed) return
      const taken = await within(faults.patienceMs, client.send(data))
      if (taken === undefined) client.close()
    })
    return outbound
  }

  const send = (run: Running, data: Uint8Array): void => {
    run.queued += data.length
    run.messages++
    if (run.queued > HIGH_WATER) run.process.pause()
    void transmit(run.client, data, () => run.dropped).then(() => {
      run.queued -= data.length
      if (run.queued <= HIGH_WATER / 2) run.process.resume()
    })
  }

  /** Applies the faults that cut a stream short. */
  const forward = (run: Running, data: Uint8Array): void => {
    if (run.dropped) return
    const limit = faults.dropTcpAfterBytes ?? faults.closeAfterBytes
    if (limit === undefined || run.delivered + data.length < limit) {
      run.delivered += data.length
      send(run, data)
      return
    }
    const rest = data.subarray(0, limit - run.delivered)
    run.delivered = limit
    if (rest.length > 0) send(run, rest)
    const cut = faults.dropTcpAfterBytes === undefined ? run.client.close : run.client.drop
    void outbound.then(() => {
      forget(run)
      cut()
    })
  }

  const forget = (run: Running): void => {
    run.dropped = true
    running.delete(run)
    run.process.resume()
  }

  const open = (container: EngineContainer | undefined, start: ExecStart, client: Client): HostStream => {
    if (!container || start.argv.length === 0 || faults.closeWithoutOutput) {
      void outbound.then(() => client.close())
      return { input() {}, resize() {}, clientGone() {} }
    }
    options.started(container, start.argv)
    const process = engine.exec(container, { argv: start.argv, tty: start.tty, stdin: start.stdin })
    const run: Running = {
      engineId: container.engineId,
      client,
      process,
      start,
      dropped: false,
      endAtOutput: false,
      queued: 0,
      delivered: 0,
      messages: 0,
      unread: 0,
      unreadBytes: 0,
    }
    running.add(run)
    const reader = createReader(
      () => faults.readBytes,
      () => generation() === 'A' && faults.loseLastChunk,
      (data) => forward(run, data),
    )
    const framed = !start.tty && generation() !== 'A'

    const take = (stream: 'stdout' | 'stderr', data: Uint8Array): void => {
      if (run.endAtOutput) {
        run.endAtOutput = false
        process.endInput()
      }
      if (run.dropped || !start.stdout) return
      // Cattle asks for no stderr; only a token that it did not make can, and only B looks at that [REC E10].
      if (stream === 'stderr' && !start.tty && !(start.stderr && generation() !== 'A')) return
      if (framed) reader.pushFrame(stream === 'stdout' ? 1 : 2, data)
      else reader.push(data)
    }
    process.onOutput(take)
    void process.ended.then((end) => {
      if ('startError' in end) take('stdout', Buffer.from(end.startError))
      reader.end()
      void outbound.then(() => {
        if (run.dropped) return
        // B0's handler blocks for ever; without attachStdout the real ones stay open and silent too [REC E9].
        if (generation() === 'B0' || faults.neverClose || !start.stdout) return
        forget(run)
        client.close()
      })
    })

    const giveInput = (data: Uint8Array): void => {
      run.unread++
      run.unreadBytes += data.length
      void process.write(data).then(() => {
        run.unread--
        run.unreadBytes -= data.length
      })
    }
    return {
      input(data) {
        if (run.dropped || !start.stdin) return
        if (generation() === 'A') {
          if (run.unreadBytes + data.length <= STDIN_CAP) giveInput(data)
          return
        }
        inbound = inbound.then(async () => {
          const deadline = Date.now() + faults.patienceMs
          while (run.unread >= STDIN_QUEUE && !run.dropped && !closed) {
            if (Date.now() > deadline) return loseTunnel()
            await pause(10)
          }
          if (!run.dropped) giveInput(data)
        })
      },
      resize(columns, rows) {
        if (generation() !== 'A') process.resize(columns, rows)
      },
      clientGone() {
        if (run.dropped) return
        forget(run)
        if (start.stdin) void process.write(EOT)
        if (start.tty) return
        if (generation() === 'A') run.endAtOutput = true
        else process.endInput()
      },
    }
  }

  const loseTunnel = (): void => {
    for (const run of [...running]) {
      forget(run)
      run.client.close()
      if (!run.start.tty) run.process.endInput()
    }
    options.lost()
  }

  return {
    open(container, start, client) {
      // In B a stream is opened by a message in the same tunnel: it waits behind stdin that nobody reads [REC 9].
      if (generation() === 'A') return open(container, start, client)
      let stream: HostStream | undefined
      let gone = false
      inbound = inbound.then(() => {
        if (!gone && !closed) stream = open(container, start, client)
      })
      const later = (act: (stream: HostStream) => void): void => {
        if (stream) act(stream)
        else void inbound.then(() => stream && act(stream))
      }
      return {
        input: (data) => later((one) => one.input(data)),
        resize: (columns, rows) => later((one) => one.resize(columns, rows)),
        clientGone() {
          gone = true
          later((one) => one.clientGone())
        },
      }
    },
    deliver: (client, data) => transmit(client, data, () => false),
    killContainer(engineId) {
      for (const run of running) if (run.engineId === engineId) run.process.kill()
    },
    loseTunnel,
    close() {
      closed = true
      for (const run of [...running]) {
        forget(run)
        run.process.kill()
      }
    },
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** What the promise gives, or undefined when `ms` have passed. */
function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(undefined), ms)
    void promise.then((value) => {
      clearTimeout(timer)
      resolve(value)
    })
  })
}

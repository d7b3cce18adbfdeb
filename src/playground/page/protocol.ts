/** Follows runs as they happen: collects what both peers saw and what the ledger holds, and says which run it belongs to. */

import type { RunId, RunRequest, StoredEvent } from '../../core/model.ts'
import type { KubernetesPeer } from '../kubernetes/peer.ts'
import type { RancherPeer, Traffic } from '../rancher/peer.ts'
import type { SlackPeer } from '../slack/peer.ts'
import { channelReader } from './channels.ts'
import { callLine, deliveryLine, type Engine, type Line, ledgerLine, trafficLine } from './entries.ts'
import { type FrameReader, frameReader } from './frames.ts'

/** What the page may see of the ledger: plain data, read by whoever owns it. */
export type RunBook = {
  /** Newest first. */
  latest(limit: number): Promise<readonly RunId[]>
  read(run: RunId): Promise<readonly StoredEvent[]>
  /** Takes out what drover would not show either. */
  mask(text: string): string
}

export type Entry = Line & { readonly id: number; readonly run: string }
export type FollowedRun = {
  readonly id: string
  readonly at: number
  readonly title: string
  /** Timestamps of the messages that it is under. */
  readonly spots: readonly string[]
}
export type Protocol = {
  runs(): readonly FollowedRun[]
  entries(run: string): readonly Entry[]
  listen(listener: (news: { readonly runs: readonly FollowedRun[]; readonly entries: readonly Entry[] }) => void): () => void
  close(): void
}

const TICK_MS = 150
/** Runs kept, and lines kept of each; more are dropped and counted. */
const MAX_RUNS = 40
const MAX_ENTRIES = 600
/** A line that belongs to no run by then belongs to none. */
const ORPHAN_MS = 4000
/** What comes after the last word still belongs to the run: closing sockets, a late acknowledgement. */
const TAIL_MS = 400

type Waiting = { readonly line: Line; readonly arrived: number; readonly needle: string; readonly onlyByName: boolean }
type Known = {
  request: RunRequest
  events: readonly StoredEvent[]
  endedAt: number | undefined
  entries: Entry[]
  dropped: number
}

export type Wires = { readonly slack: SlackPeer; readonly rancher: RancherPeer; readonly kube: KubernetesPeer }

export function createProtocol({ slack, rancher, kube }: Wires, book: RunBook): Protocol {
  const known = new Map<string, Known>()
  const listeners = new Set<(news: { runs: readonly FollowedRun[]; entries: readonly Entry[] }) => void>()
  let waiting: Waiting[] = []
  let fresh: Entry[] = []
  let nextId = 1
  let timer: NodeJS.Timeout | undefined
  let closed = false

  const wait = (line: Line, needle = '', onlyByName = false) => {
    waiting.push({ line, arrived: Date.now(), needle, onlyByName })
    schedule()
  }
  const schedule = () => {
    if (timer === undefined && !closed) timer = setTimeout(() => void tick(), TICK_MS)
  }

  const stopSlack = slack.watch((traffic) => {
    if (traffic.type === 'delivery') wait(deliveryLine(traffic.delivery), traffic.delivery.rawBody, true)
    else wait(callLine(traffic.call), JSON.stringify(traffic.call.args))
  })
  const follow = (engine: Engine, newReader: () => FrameReader) => {
    const readers = new Map<number, FrameReader>()
    return (traffic: Traffic): void => {
      const socket = 'socket' in traffic ? traffic.socket : 0
      const reader = readers.get(socket) ?? newReader()
      if (socket > 0) readers.set(socket, reader)
      if (traffic.type === 'closed') readers.delete(socket)
      wait(trafficLine(traffic, reader, engine), traffic.type === 'http' ? traffic.path : '')
    }
  }
  const stopRancher = rancher.on('traffic', follow('rancher', frameReader))
  const stopKubernetes = kube.on('traffic', follow('kubernetes', channelReader))

  async function tick(): Promise<void> {
    try {
      await look()
      place()
      if (fresh.length > 0) {
        const news = { runs: runs(), entries: fresh }
        fresh = []
        for (const listener of listeners) listener(news)
      }
    } catch {
      // The ledger is closed: nothing follows.
      waiting = []
    }
    timer = undefined
    if (waiting.length > 0 || [...known.values()].some((one) => one.endedAt === undefined)) schedule()
  }

  /** Reads what the ledger has of the newest runs, and of those that go on. */
  async function look(): Promise<void> {
    const latest = await book.latest(8)
    const open = [...known].filter(([, one]) => one.endedAt === undefined).map(([id]) => id as RunId)
    for (const id of [...new Set([...latest.toReversed(), ...open])]) {
      const events = await book.read(id)
      const first = events[0]?.event
      if (first?.type !== 'accepted') continue
      const run = known.get(id) ?? { request: first.request, events: [], endedAt: undefined, entries: [], dropped: 0 }
      if (!known.has(id)) known.set(id, run)
      for (const event of events.slice(run.events.length)) {
        add(id, run, ledgerLine(event, events[event.seq - 2]?.hash))
        if (event.event.type === 'delivered') run.endedAt = event.at
      }
      run.events = events
    }
    for (const id of [...known.keys()].slice(0, Math.max(0, known.size - MAX_RUNS))) known.delete(id)
  }

  function place(): void {
    const now = Date.now()
    waiting = waiting.filter((one) => {
      const id = runOf(one)
      const run = id === undefined ? undefined : known.get(id)
      if (id !== undefined && run) add(id, run, one.line)
      return run === undefined && now - one.arrived < ORPHAN_MS
    })
  }

  /** By name where something names the run; otherwise by time, and among several by the container that is named. */
  function runOf({ line, needle, onlyByName }: Waiting): string | undefined {
    const all = [...known].toReversed()
    const byName = all.find(([id, { request }]) => {
      const key = request.trigger.delivery.replace(/^slack:/, '')
      return needle.includes(id) || (onlyByName && key !== '' && needle.includes(key))
    })
    if (byName || onlyByName) return byName?.[0]
    const then = all.filter(
      ([, { request, endedAt }]) => request.receivedAt <= line.at && line.at <= (endedAt ?? line.at) + TAIL_MS,
    )
    const named = then.find(([, { events }]) =>
      events.some(
        ({ event }) => event.type === 'resolved' && event.targets.some(({ native }) => `${needle}/`.includes(`/${native}/`)),
      ),
    )
    return (named ?? then[0])?.[0]
  }

  function add(id: string, run: Known, line: Line): void {
    if (run.entries.length >= MAX_ENTRIES) {
      run.dropped += 1
      return
    }
    const parts = line.parts.map(({ name, text }) => ({ name, text: book.mask(text) }))
    const entry = { ...line, title: book.mask(line.title), parts, id: nextId++, run: id }
    run.entries.push(entry)
    fresh.push(entry)
  }

  function runs(): readonly FollowedRun[] {
    return [...known].toReversed().map(([id, { request, events }]) => ({
      id,
      at: request.receivedAt,
      title: book.mask(request.command.argv.join(' ')),
      spots: [
        ...events.flatMap(({ event }) => (event.type === 'posted' ? [event.ref.split(':')[1] ?? ''] : [])),
        ...(request.place.kind === 'slack' && request.place.threadTs !== undefined ? [request.place.threadTs] : []),
      ],
    }))
  }

  return {
    runs,
    entries: (id) => {
      const run = known.get(id)
      if (!run) return []
      const more: Entry[] =
        run.dropped === 0
          ? []
          : [
              {
                id: 0,
                run: id,
                at: Number.MAX_SAFE_INTEGER,
                lane: 'drover',
                title: `${run.dropped} more lines are not kept`,
                parts: [],
              },
            ]
      return [...run.entries, ...more]
    },
    listen(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    close() {
      closed = true
      clearTimeout(timer)
      stopSlack()
      stopRancher()
      stopKubernetes()
    },
  }
}

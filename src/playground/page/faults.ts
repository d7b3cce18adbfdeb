/** The faults that a player can switch on, each with what to try then and what drover will say. */

import type { RancherPeer } from '../rancher/peer.ts'
import type { SlackPeer } from '../slack/peer.ts'
import type { Example } from './document.ts'

export type FaultItem = {
  readonly id: string
  readonly group: 'The agent on the host' | 'The connection' | 'Rancher' | 'Slack' | 'Containers'
  readonly label: string
  /** What drover will say, in a sentence. */
  readonly says: string
  readonly example: Example
}
type Fault = FaultItem & { isOn(): boolean; set(on: boolean): void }

export type Faults = {
  list(): readonly (FaultItem & { readonly on: boolean })[]
  set(id: string, on: boolean): void
  heal(): void
}

/** After the wrapper's first frame, in every generation, and before the output has ended. */
const IN_THE_MIDDLE = 120
const LONG_OUTPUT = '/exec name=shop-web-1 cmd="seq 1 100"'
const UPTIME = '/exec name=shop-web-1 cmd="uptime"'
const everyCall = { match: /./, times: Number.POSITIVE_INFINITY }

export function createFaultMenu(slack: SlackPeer, rancher: RancherPeer): Faults {
  const { faults } = rancher
  const here = (text: string): Example => ({ label: text, text, user: 'U0ALEX', channel: 'C0OPS' })
  /** A prepared answer that stays until it is taken away. */
  const prepared = (answer: (typeof faults.http)[number]) => ({
    isOn: () => faults.http.includes(answer),
    set(on: boolean) {
      faults.http = faults.http.filter((one) => one !== answer)
      if (on) faults.http.unshift(answer)
    },
  })
  const generation = (name: 'A' | 'B0' | 'B') => ({
    isOn: () => rancher.generation === name,
    set: (on: boolean) => {
      rancher.generation = on ? name : 'B'
    },
  })
  const slackFault = (method: string, begin: () => void) => ({
    isOn: () => slack.faults.left(method) > 0,
    set(on: boolean) {
      slack.faults.clear(method)
      if (on) begin()
    },
  })

  const menu: readonly Fault[] = [
    {
      id: 'generation-a',
      group: 'The agent on the host',
      label: 'Generation A: Rancher 1.2 and older',
      says: 'The same as ever: without Docker’s headers on the stream drover still tells stdout, stderr and the exit code apart.',
      example: here('/exec stack=shop service=api cmd="echo out; echo err >&2; exit 3"'),
      ...generation('A'),
    },
    {
      id: 'generation-b0',
      group: 'The agent on the host',
      label: 'Generation B0: the websocket never closes',
      says: 'The same as ever: drover knows the end by its own frame “x” and closes by itself.',
      example: here('/exec stack=shop service=api cmd="echo out; echo err >&2; exit 3"'),
      ...generation('B0'),
    },
    {
      id: 'drop',
      group: 'The connection',
      label: 'The connection drops, without a close frame',
      says: 'Unknown: “The connection ended (no close frame …) before the command said how it ended; it may still run, pid …” Never a success.',
      example: here(LONG_OUTPUT),
      isOn: () => faults.dropTcpAfterBytes !== undefined,
      set: (on) => {
        faults.dropTcpAfterBytes = on ? IN_THE_MIDDLE : undefined
      },
    },
    {
      id: 'close',
      group: 'The connection',
      label: 'The websocket closes in the middle, with a close frame',
      says: 'Unknown: “The connection ended (close 1000) …”. A polite close proves nothing either.',
      example: here(LONG_OUTPUT),
      isOn: () => faults.closeAfterBytes !== undefined,
      set: (on) => {
        faults.closeAfterBytes = on ? IN_THE_MIDDLE : undefined
      },
    },
    {
      id: 'nothing',
      group: 'The connection',
      label: 'The websocket closes at once, with no output',
      says: 'Unknown: “The connection ended (close 1000) before the command began …”. Other tools call this a success.',
      example: here(UPTIME),
      isOn: () => faults.closeWithoutOutput,
      set: (on) => {
        faults.closeWithoutOutput = on
      },
    },
    {
      id: 'stall',
      group: 'The connection',
      label: 'Host 1h1 delivers nothing',
      says: 'Timed out, and since the kill got no answer either: “still running”, with a button to try again. (It takes half a minute to be sure.)',
      example: here('/exec name=shop-web-1 timeout=3s cmd="uptime"'),
      isOn: () => faults.stallHost !== undefined,
      set: (on) => {
        faults.stallHost = on ? '1h1' : undefined
      },
    },
    {
      id: 'slow',
      group: 'Rancher',
      label: 'Rancher takes 2 seconds for every answer',
      says: 'The same answer, later. Slack still gets its acknowledgement at once.',
      example: here(UPTIME),
      isOn: () => faults.slowMs > 0,
      set: (on) => {
        faults.slowMs = on ? 2000 : 0
      },
    },
    {
      id: 'unauthorized',
      group: 'Rancher',
      label: 'Rancher refuses drover’s key: 401',
      says: 'A refusal only you can see: the key was not accepted. Nothing ran.',
      example: here(UPTIME),
      ...prepared({ ...everyCall, status: 401 }),
    },
    {
      id: 'token',
      group: 'Rancher',
      label: 'The proxy refuses its own token: 401',
      says: 'Failed, it did not run: the host is not connected, or the clocks differ by minutes.',
      example: here(UPTIME),
      isOn: () => faults.refuseUpgrade !== undefined,
      set: (on) => {
        faults.refuseUpgrade = on ? { status: 401, body: 'Failed authentication\n' } : undefined
      },
    },
    {
      id: 'down',
      group: 'Rancher',
      label: 'The Rancher server is down: 502',
      says: 'A refusal: Rancher does not answer. A list that cannot be read whole is never taken for a shorter one.',
      example: here(UPTIME),
      isOn: () => faults.cattleDown,
      set: (on) => {
        faults.cattleDown = on
      },
    },
    {
      id: 'slack-429',
      group: 'Slack',
      label: 'Slack says “too fast” to the next 2 posts: 429',
      says: 'The answer, some seconds later: drover waits as long as Slack asks.',
      example: here(UPTIME),
      ...slackFault('chat.postMessage', () => slack.faults.rateLimit('chat.postMessage', { retryAfterS: 1, times: 2 })),
    },
    {
      id: 'slack-503',
      group: 'Slack',
      label: 'Slack fails the next 2 updates: 503',
      says: 'The answer, later: it is in the ledger, and drover delivers it again until Slack confirms.',
      example: here(UPTIME),
      ...slackFault('chat.update', () =>
        slack.faults.fail('chat.update', { status: 503, error: 'service_unavailable', times: 2 }),
      ),
    },
    {
      id: 'stopped',
      group: 'Containers',
      label: 'shop-web-2 is stopped',
      says: 'A refusal: no container that runs has this name. With label=web you get the others, and their number says so.',
      example: here('/exec name=shop-web-2 cmd="uptime"'),
      isOn: () => rancher.containers.get('shop-web-2').state === 'stopped',
      set: (on) => {
        if (on !== (rancher.containers.get('shop-web-2').state === 'stopped'))
          rancher.containers[on ? 'stop' : 'start']('shop-web-2')
      },
    },
    {
      id: 'no-shell',
      group: 'Containers',
      label: 'shop-web-3 is an image without a shell',
      says: 'What the command wrote, then “unknown”: without a shell Rancher 1.x tells no exit code.',
      example: here('/exec name=shop-web-3 -- /app --version'),
      ...shellOf(rancher),
    },
  ]

  return {
    list: () => menu.map(({ isOn, set: _, ...item }) => ({ ...item, on: isOn() })),
    set(id, on) {
      const fault = menu.find((one) => one.id === id)
      if (!fault) throw new Error('no such fault')
      fault.set(on)
    },
    heal() {
      for (const fault of menu) if (fault.isOn()) fault.set(false)
      slack.faults.clear()
    },
  }
}

/** The pretend engine asks the container itself whether it has a shell. */
function shellOf(rancher: RancherPeer) {
  const container = rancher.containers.get('shop-web-3') as { shell: boolean }
  return {
    isOn: () => !container.shell,
    set: (on: boolean) => {
      container.shell = !on
    },
  }
}

/** What the page offers to try: each shows one thing that drover does, or refuses. */

import type { Example } from './document.ts'

export const examples: readonly Example[] = [
  { label: 'Ask every web container', text: '/exec label=web cmd="uptime"', user: 'U0ALEX', channel: 'C0OPS' },
  {
    label: 'Past its deadline: killed, with proof',
    text: '/exec name=shop-web-1 timeout=2s cmd="sleep 60"',
    user: 'U0ALEX',
    channel: 'C0INC123',
  },
  { label: 'In an incident, by mention', text: '@drover label=web cmd="df -h"', user: 'U0ALEX', channel: 'C0INC123' },
  {
    label: 'A new image: before and after, then the way back',
    text: '/rollout image deployment=api container=main image=drover-test/busybox:2',
    user: 'U0ALEX',
    channel: 'C0OPS',
  },
  {
    label: 'Both streams and an exit code',
    text: '/exec stack=shop service=api cmd="echo out; echo err >&2; exit 3"',
    user: 'U0ALEX',
    channel: 'C0OPS',
  },
  { label: 'Sam has no right to a shell', text: '/exec label=web cmd="ps aux | head -3"', user: 'U0SAM', channel: 'C0OPS' },
  { label: 'A channel without rights', text: '/exec label=web cmd="uptime"', user: 'U0ALEX', channel: 'C0RANDOM' },
  { label: 'A stranger from another company', text: '/exec label=web cmd="uptime"', user: 'U0KIM', channel: 'C0SHARED' },
  {
    label: 'An image that is in no registry: stuck',
    text: '/rollout image deployment=api container=main image=drover-test/busybox:missing timeout=20s',
    user: 'U0ALEX',
    channel: 'C0OPS',
  },
  { label: 'Nobody scales to nothing', text: '/rollout scale deployment=api replicas=0', user: 'U0ALEX', channel: 'C0OPS' },
  { label: 'Look before you leap', text: '/exec targets label=app=shop', user: 'U0ALEX', channel: 'C0OPS' },
]

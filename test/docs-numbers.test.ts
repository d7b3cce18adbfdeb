/** Numbers that the documentation states are those of the code: `{45 s}` in a row is the constant of that name. */

import { describe, expect, it } from 'vitest'
import { pages, read } from './docs-pages.ts'

const units: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  seconds: 1_000,
  minute: 60_000,
  minutes: 60_000,
  hour: 3_600_000,
  days: 86_400_000,
  MB: 1_000_000,
  KiB: 1_024,
  MiB: 1_048_576,
}
const words = ['a', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']

/** In milliseconds, bytes, or as it stands. */
function amountOf(said: string): number {
  const [number = '', unit] = said.split(' ')
  const word = words.indexOf(number === 'an' ? 'a' : number.toLowerCase())
  const amount = word < 0 ? Number(number) : word + 1
  return amount * (unit === undefined ? 1 : (units[unit] ?? Number.NaN))
}

/** The value of `const NAME = 2 * 60_000` or `name: 600_000` in a source; products and sums of numbers alone. */
function constantOf(path: string, name: string): number {
  const found = [...read(path).matchAll(new RegExp(`\\b${name}(?:: | = )([\\d_ *+]+)[,;)\\n}]`, 'g'))]
  expect(found, `${name} once in ${path}`).toHaveLength(1)
  const sum = found[0]?.[1]?.split('+') ?? []
  return sum.reduce(
    (all, one) => all + one.split('*').reduce((product, factor) => product * Number(factor.replaceAll('_', '')), 1),
    0,
  )
}

const rows: readonly (readonly [page: string, said: string, path: string, name: string])[] = [
  ['README.md', 'could take longer than {12 minutes} is refused', 'src/run-object.ts', 'mostRunMs'],
  ['README.md', 'drover then keeps {two} connections to Slack', 'src/frontends/slack/socket.ts', 'CONNECTIONS'],

  ['docs/policy.md', 'could take longer than {12 minutes}', 'src/run-object.ts', 'mostRunMs'],
  ['docs/policy.md', 'on Workers at most {8 MiB}', 'src/run-object.ts', 'mostOutputBytes'],
  ['docs/policy.md', 'how long drover watches ({10 minutes} when nobody says)', 'src/core/judge.ts', 'rolloutMs'],

  ['docs/frontends/slack.md', 'at most {five minutes} old or ahead', 'src/frontends/slack/signature.ts', 'MAX_SKEW_MS'],
  ['docs/frontends/slack.md', '{Two} connections are kept', 'src/frontends/slack/socket.ts', 'CONNECTIONS'],
  ['docs/frontends/webhook.md', 'The body has at most {256 KiB}', 'src/frontends/webhook/hooks.ts', 'maxBody'],

  ['docs/agent.md', '{512} streams at a time', 'src/agent/frame.ts', 'MAX_STREAMS'],
  ['docs/agent.md', '{128 KiB} on the way for each of them', 'src/agent/frame.ts', 'WINDOW_BYTES'],
  ['docs/agent.md', 'frames of {32 KiB}', 'src/agent/frame.ts', 'DATA_BYTES'],
  ['docs/agent.md', 'requests of {8 MiB}', 'src/agent/serve.ts', 'MOST_BODY_BYTES'],
  ['docs/agent.md', 'a handshake of {10 s}', 'src/agent/handshake.ts', 'HANDSHAKE_MS'],
  ['docs/agent.md', 'nothing was heard for {45 s}', 'src/agent/handshake.ts', 'SILENCE_MS'],
  ['docs/agent.md', 'time ({five minutes} either way)', 'src/agent/handshake.ts', 'MOST_SKEW_MS'],
  ['docs/agent.md', 'at most {a minute}', 'src/agent/dial.ts', 'mostWaitMs'],

  ['docs/exec.md', 'the last {32 KiB}', 'src/exec/streams.ts', 'TAIL_BYTES'],
  ['docs/exec.md', 'after about {256 KiB} here', 'src/exec/streams.ts', 'PIPE_BYTES'],
  ['docs/exec.md', '(`maxOutputBytes`, {64 MiB})', 'src/exec/exec.ts', 'MAX_OUTPUT_BYTES'],
  ['docs/exec.md', '`timeoutMs` is {an hour} unless', 'src/exec/exec.ts', 'HOUR_MS'],
  ['docs/exec.md', 'at most {1 MiB} of stdin', 'src/exec/others.ts', 'MAX_STDIN'],

  ['docs/backends/docker.md', 'at most {1 MiB} of text', 'src/cli.ts', 'mostStdin'],
  ['docs/backends/docker.md', '{five minutes} after the time limit', 'src/backends/docker/new-container.ts', 'GRACE_MS'],
  ['docs/backends/docker.md', 'at its start or within {a minute}', 'src/core/sweep.ts', 'minuteMs'],

  ['docs/backends/containerd.md', 'Who finds no place within {30 s}', 'src/backends/containerd/backend.ts', 'TURN_MS'],
  ['docs/backends/containerd.md', 'stalls with more than {16}', 'src/backends/containerd/check.ts', 'MOST_ON_1_6'],
  ['docs/backends/containerd.md', 'TERM to all, {two seconds}', 'src/backends/containerd/new-container.ts', 'TERM_MS'],
  ['docs/backends/containerd.md', 'time limit and {five minutes}', 'src/backends/containerd/new-container.ts', 'GRACE_MS'],
  ['docs/backends/containerd.md', 'gives the rest of the output {2 s}', 'src/backends/containerd/cri.ts', 'REST_MS'],
  ['docs/backends/containerd.md', "the command's end get {2 s}", 'src/backends/containerd/exec.ts', 'REST_MS'],
  ['docs/backends/containerd.md', 'get 2 s and {1 MiB}', 'src/backends/containerd/output.ts', 'REST_BYTES'],

  ['docs/backends/kubernetes.md', 'token is read again once {a minute}', 'src/backends/kubernetes/token.ts', 'FILE_MS'],
  ['docs/backends/kubernetes.md', 'stands still for {90 s}', 'src/backends/wire/rollout.ts', 'brokenMs'],
  ['docs/backends/kubernetes.md', 'or for {10 minutes} without a reason', 'src/backends/wire/rollout.ts', 'stillMs'],
  ['docs/backends/kubernetes.md', 'the same {5 s} later', 'src/backends/wire/rollout.ts', 'holdMs'],
  ['docs/backends/kubernetes.md', 'in the progress after {10 s}', 'src/backends/wire/rollout.ts', 'settleMs'],
  ['docs/backends/kubernetes.md', 'reason of up to {five} pods', 'src/backends/wire/rollout.ts', 'MAX_TROUBLES'],
  ['docs/backends/kubernetes.md', 'the last {20} lines', 'src/backends/kubernetes/workload-status.ts', 'TAIL_LINES'],
  ['docs/backends/kubernetes.md', 'lines ({8 KiB}) of the logs', 'src/backends/kubernetes/workload-status.ts', 'LIMIT_BYTES'],
  ['docs/backends/kubernetes.md', 'the logs of up to {three}', 'src/backends/kubernetes/workload-status.ts', 'MAX_LOGS'],
  ['docs/backends/kubernetes.md', 'stdin up to {16 MiB}', 'src/backends/kubernetes/exec.ts', 'MAX_STDIN_BYTES'],
  ['docs/backends/kubernetes.md', 'from 1.{35} on', 'src/backends/kubernetes/check.ts', 'CREATE_SINCE_MINOR'],

  ['docs/backends/rancher1.md', 'a ping every {20 s}', 'src/runtime/transport-node.ts', 'KEEP_ALIVE_MS'],
  ['docs/backends/rancher1.md', 'has moved for {90 s}', 'src/backends/wire/rollout.ts', 'brokenMs'],
  ['docs/backends/rancher1.md', 'or for {10 minutes}', 'src/backends/wire/rollout.ts', 'stillMs'],
  ['docs/backends/rancher1.md', 'up to {three} such containers', 'src/backends/rancher1/workloads.ts', 'MAX_LOGS'],
  ['docs/backends/rancher2.md', 'warns from {14} days on', 'src/backends/rancher2/check.ts', 'WARN_DAYS'],

  ['docs/backends/swarm.md', '| length | {512 KiB}', 'src/backends/swarm/client.ts', 'MAX_BYTES'],
  ['docs/backends/swarm.md', 'up to {64 KiB}', 'src/backends/swarm/client.ts', 'MAX_STDIN_BYTES'],
  ['docs/backends/swarm.md', 'More than {64 MiB}', 'src/backends/swarm/logs.ts', 'MAX_BYTES'],
  ['docs/backends/swarm.md', 'read in {45 s}', 'src/backends/swarm/logs.ts', 'REST_MS'],
  ['docs/backends/swarm.md', 'does not come up in {15 s}', 'src/backends/swarm/temporary.ts', 'START_MS'],
  ['docs/backends/swarm.md', 'out of reach for less than {20 s}', 'src/backends/swarm/temporary.ts', 'CONTACT_MS'],
  ['docs/backends/swarm.md', 'own time and {two minutes}', 'src/backends/swarm/temporary.ts', 'AFTER_MS'],

  ['docs/decisions/0003-interrupted-or-fresh.md', 'at most {60 s} old', 'src/core/run.ts', 'freshMs'],
  [
    'docs/decisions/0007-where-the-code-differs-from-the-first-plan.md',
    'take longer than {12 minutes} is refused',
    'src/run-object.ts',
    'mostRunMs',
  ],
  ['docs/decisions/0004-hub-object.md', 'or for {16 minutes} at most', 'src/run-object.ts', 'longestTurnMs'],
]

describe.each(pages.filter((page) => rows.some(([on]) => on === page)))('%s', (page) => {
  it.each(rows.filter(([on]) => on === page))('%s says “%s”, as %s has it in %s', (_, said, path, name) => {
    const amount = /\{(.+)\}/.exec(said)?.[1] ?? ''
    const isThere = read(page).replaceAll(/\s+/g, ' ').includes(said.replaceAll(/[{}]/g, ''))
    expect(isThere, 'the page has other words').toBe(true)
    expect(amountOf(amount)).toBe(constantOf(path, name))
  })
})

/** The configurations that belong to the pretend systems, as text: that of the playground, and one for a terminal. */

import { NAMESPACE } from './kubernetes/default-world.ts'
import type { KubernetesPeer } from './kubernetes/peer.ts'
import type { RancherPeer } from './rancher/peer.ts'
import type { SlackPeer } from './slack/peer.ts'

export type Peers = { readonly slack: SlackPeer; readonly rancher: RancherPeer; readonly kube: KubernetesPeer }

const backendsOf = ({ rancher, kube }: Pick<Peers, 'rancher' | 'kube'>): string =>
  `  play: { kind: rancher1, url: ${rancher.url}/v2-beta, accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } }
  kube: { kind: kubernetes, server: '${kube.url}', token: { env: KUBE_TOKEN }, namespaces: [${NAMESPACE}] }
`

/** Secrets are in the variables that `drover peers` prints beside it. */
export function peersYaml(peers: Pick<Peers, 'rancher' | 'kube'>, ledger: string): string {
  return `# The pretend Rancher and Kubernetes, for whoever is at this terminal.
ledger: { path: '${ledger}' }
backends:
${backendsOf(peers)}rules:
  - { id: me, effect: allow, who: { cli: true }, commands: ['...'], rollouts: ['...'], rights: [shell, env, all] }
`
}

/** The playground itself: who may do what in the pretend workplace. */
export function playgroundYaml({ slack, rancher, kube }: Peers): string {
  return `
ledger: { path: ':memory:' }
slack:
  signingSecret: { env: SLACK_SIGNING_SECRET }
  botToken: { env: SLACK_BOT_TOKEN }
  team: ${slack.teamId}
  botUserId: ${slack.botUserId}
  botId: ${slack.botId}
  apiUrl: ${slack.apiUrl}
  shareTo: [C0OPS, C0INC123]
backends:
${backendsOf({ rancher, kube })}rules:
  - id: nothing-destructive
    effect: deny
    commands: ['rm ...', 'shutdown ...', 'reboot ...']
    reason: use the runbook
  - id: never-to-nothing
    effect: deny
    rollouts: ['scale 0']
    reason: it would be an outage
  - id: oncall-anything
    effect: allow
    who: { groups: [T0PLAY/S0ONCALL] }
    channels: [T0PLAY/C0OPS, T0PLAY/C0INC123]
    commands: ['...']
    rollouts: ['...']
    rights: [shell, env, all]
    limits: { targets: 200, timeout: 5m }
  - id: developers-look
    effect: allow
    who: { users: [T0PLAY/U0SAM] }
    channels: [T0PLAY/C0OPS, T0PLAY/C0INC123]
    targets: { stack: [shop] }
    commands: [uptime, 'df ...', 'ps ...', hostname, 'tail -n * /var/log/*']
    limits: { targets: 20, timeout: 20s }
  - id: developers-look-at-workloads
    effect: allow
    who: { users: [T0PLAY/U0SAM] }
    channels: [T0PLAY/C0OPS, T0PLAY/C0INC123]
    rollouts: [status]
  - id: disk-alert
    effect: allow
    who: { webhooks: [disk-alert] }
    targets: { stack: [shop] }
    commands: ['df -h *']
hooks:
  disk-alert:
    secrets: [{ env: DROVER_HOOK_SECRET }]
    channel: T0PLAY/C0INC123
    request: 'stack=shop service=web timeout=20s -- df -h {path}'
    parameters: { path: { pointer: /path, type: path } }
`
}

/** What a broken file is refused with, word for word: each was read as somebody would at three in the morning. */

import { describe, expect, it } from 'vitest'
import { agentSettings } from '../src/agent/settings.ts'
import { labels, parseConfig, parseYaml, secretOf } from '../src/config.ts'
import { DroverError } from '../src/core/errors.ts'

const env = {
  SLACK_SIGNING_SECRET: '8f742231b10e8888abcd99yyyzzz85a5',
  SLACK_BOT_TOKEN: 'xoxb-1-abcdef',
  CATTLE_ACCESS_KEY: 'A98CA41B63C13D27C506',
  CATTLE_SECRET_KEY: 'Yykp-uvXPtUY5PILvVqn6qz3bxPhHrGfaaGdBwam',
  HOOK_DISK_ALERT: '0123456789abcdef0123456789abcdef',
}

/** One line for each mistake, without the mark before it. Which keys there are grows; that they are told is a test of its own. */
function saidBy(load: () => unknown): readonly string[] {
  try {
    load()
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.replace(/^ {2}- /, '').replace(/keys here: [a-zA-Z, ]+/, 'keys here: …'))
  }
  return []
}

const mistakes: readonly (readonly [string, string, readonly string[]])[] = [
  [
    'an unknown kind',
    `backends:
  prod: { kind: rancher, url: https://r.example.com }`,
    [
      'line 2, column 17: backends.prod.kind: there is no rancher; did you mean rancher1 or rancher2? (there are rancher1, rancher2, kubernetes, docker, swarm, containerd)',
    ],
  ],
  [
    'a kind that is nothing like one',
    `backends:
  prod: { kind: podman, socket: /x }`,
    [
      'line 2, column 17: backends.prod.kind: there is no podman; there are rancher1, rancher2, kubernetes, docker, swarm, containerd',
    ],
  ],
  [
    'no kind',
    `backends:
  prod:
    url: https://r.example.com/v2-beta`,
    [
      'line 2, column 3: backends.prod.kind: it is missing; write one of rancher1, rancher2, kubernetes, docker, swarm, containerd',
    ],
  ],
  [
    'an unknown key at the top',
    `rule:
  - { id: a, effect: deny }`,
    ['line 1, column 1: the file: unknown key rule; did you mean rules? (keys here: …)'],
  ],
  [
    'an unknown key in targets',
    `rules:
  - id: oncall
    effect: allow
    who: { cli: true }
    targets: { lable: app=web }
    commands: ['...']`,
    ['line 5, column 16: rule 1 (oncall), targets: unknown key lable; did you mean labels? (keys here: …)'],
  ],
  [
    'keys of elsewhere',
    `backends:
  kube:
    kind: kubernetes
    kubeconfig: ~/.kube/config
    namespace: shop
    timeout: 20s`,
    [
      'line 5, column 5: backends.kube: unknown key namespace; did you mean namespaces? (keys here: …)',
      'line 6, column 5: backends.kube: unknown key timeout; keys here: …',
    ],
  ],
  [
    'a rule without a name and without who',
    `rules:
  - { id: ok, effect: deny, commands: [rm] }
  - effect: allow
    commands: ['...']`,
    [
      'line 3, column 5: rule 2 (it begins with effect:), id: it is missing; a name of lower case letters, digits, - and _, which begins with a letter or digit',
    ],
  ],
  [
    'an allow rule that says nobody',
    `rules:
  - { id: oncall, effect: allow, commands: [uptime] }`,
    [
      'line 2, column 5: rule 1 (oncall), who: an allow rule has to say who: users, groups, teams, webhooks, or cli: true (whoever is at a terminal of this machine)',
    ],
  ],
  [
    'an allow rule that says no commands',
    `rules:
  - { id: oncall, effect: allow, who: { cli: true } }`,
    ['line 2, column 5: rule 1 (oncall), commands: an allow rule has to say which commands, or which rollouts; "..." means any'],
  ],
  [
    'a name of a person',
    `rules:
  - { id: ok, effect: deny, commands: [rm] }
  - id: oncall
    effect: allow
    who:
      users:
        - T0123ABC/U0123ABC
        - alice
    commands: [uptime]`,
    ['line 8, column 11: rule 2 (oncall), who.users, item 2: ids, not names: write it like T0123ABC/U0123ABC (team/user)'],
  ],
  [
    '#channel without quotes in a list',
    `rules:
  - id: oncall
    effect: allow
    who: { cli: true }
    channels:
      - #inc
    commands: [uptime]`,
    [
      'line 6, column 9: rule 1 (oncall), channels, item 1: nothing stands here, for # begins a comment; put a text with one in quotes; ids, not names: write it like T0123ABC/C0123ABC (team/channel)',
    ],
  ],
  [
    '#channel without quotes in brackets',
    `rules:
  - { id: oncall, effect: allow, who: { cli: true }, channels: [#inc], commands: [uptime] }`,
    ['line 2, column 65: a # begins a comment; put a text with one in quotes'],
  ],
  [
    '#channel without quotes as a value',
    `hooks:
  disk:
    secrets: [{ env: HOOK_DISK_ALERT }]
    channel: #inc
    request: label=web -- df -h`,
    [
      'line 4, column 5: hooks.disk.channel: nothing stands here, for # begins a comment; put a text with one in quotes; ids, not names: write it like T0123ABC/C0123ABC (team/channel)',
    ],
  ],
  [
    '#channel in quotes',
    `rules:
  - { id: oncall, effect: allow, who: { cli: true }, channels: ['#inc'], commands: [uptime] }`,
    ['line 2, column 65: rule 1 (oncall), channels, item 1: ids, not names: write it like T0123ABC/C0123ABC (team/channel)'],
  ],
  [
    'an agent without its key',
    `agents:
  lab: {}`,
    ['line 2, column 3: agents.lab.key: it is missing; the public key that `drover agent keygen` printed: ed25519:…'],
  ],
  [
    'an agent whose key is a reference',
    `agents:
  lab: { key: { env: LAB_KEY } }`,
    ['line 2, column 10: agents.lab.key: the public key that `drover agent keygen` printed: ed25519:…'],
  ],
  [
    'an agent whose next key is its key, and one whose next key is another’s',
    `agents:
  lab: { key: 'ed25519:l7vZ3oH8jS1mVb2Qx0aEwYk5cTn4RfUg6dPiLhBzXyM', nextKey: 'ed25519:l7vZ3oH8jS1mVb2Qx0aEwYk5cTn4RfUg6dPiLhBzXyM' }
  web: { key: 'ed25519:m8wA4pI9kT2nWc3Ry1bFxZl6dUo5SgVh7eQjMiCaYzN', nextKey: 'ed25519:l7vZ3oH8jS1mVb2Qx0aEwYk5cTn4RfUg6dPiLhBzXyM' }`,
    [
      'line 2, column 79: agents.lab.nextKey: this is its key already; leave it out until there is a new one',
      'line 3, column 79: agents.web.nextKey: the agent lab has the same key; make each its own',
    ],
  ],
  [
    'an agent with a name of capitals',
    `agents:
  Lab: { key: 'ed25519:l7vZ3oH8jS1mVb2Qx0aEwYk5cTn4RfUg6dPiLhBzXyM' }`,
    [
      'line 2, column 3: agents.Lab: it cannot be called so: a name of lower case letters, digits, - and _, which begins with a letter or digit',
    ],
  ],
  [
    'a secret in the file',
    `backends:
  prod: { kind: rancher1, url: https://r.example.com, accessKey: A98CA41B63C1, secretKey: { env: CATTLE_SECRET_KEY } }`,
    ['line 2, column 66: backends.prod.accessKey: write { env: NAME_OF_A_VARIABLE }; secrets never stand in the file'],
  ],
  [
    'a reference with a dollar',
    `backends:
  prod: { kind: rancher1, url: https://r.example.com, accessKey: { env: $CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } }`,
    [
      'line 2, column 73: backends.prod.accessKey.env: the name of an environment variable, without $; what it holds never stands in the file',
    ],
  ],
  [
    'a reference of another spelling',
    `backends:
  prod: { kind: rancher1, url: https://r.example.com, accessKey: { ENV: CATTLE_ACCESS_KEY }, secretKey: { env: NOT_SET_AT_ALL } }`,
    [
      'line 2, column 55: backends.prod.accessKey.env: it is missing; the name of an environment variable, without $; what it holds never stands in the file',
      'line 2, column 68: backends.prod.accessKey: unknown key ENV; did you mean env? (keys here: …)',
      'line 2, column 94: backends.prod.secretKey: the environment variable NOT_SET_AT_ALL is not set',
    ],
  ],
  [
    'a url without its scheme',
    `backends:
  prod: { kind: rancher1, url: rancher.example.com, accessKey: { env: CATTLE_ACCESS_KEY }, secretKey: { env: CATTLE_SECRET_KEY } }`,
    ['line 2, column 32: backends.prod.url: an http(s) URL, for example https://rancher.example.com/v2-beta'],
  ],
  [
    'missing keys of rancher1',
    `backends:
  prod: { kind: rancher1 }`,
    [
      'line 2, column 3: backends.prod.url: it is missing; an http(s) URL, for example https://rancher.example.com/v2-beta',
      'line 2, column 3: backends.prod.accessKey: it is missing; write { env: NAME_OF_A_VARIABLE }; secrets never stand in the file',
      'line 2, column 3: backends.prod.secretKey: it is missing; write { env: NAME_OF_A_VARIABLE }; secrets never stand in the file',
    ],
  ],
  [
    'a cluster with two ways',
    `backends:
  kube: { kind: kubernetes, kubeconfig: ~/.kube/config, inCluster: true }`,
    ['line 2, column 68: backends.kube.inCluster: say exactly one of kubeconfig:, inCluster: true, or server: with token:'],
  ],
  [
    'a cluster with no way',
    `backends:
  kube: { kind: kubernetes }`,
    ['line 2, column 3: backends.kube.kubeconfig: say exactly one of kubeconfig:, inCluster: true, or server: with token:'],
  ],
  [
    'docker with nothing',
    `backends:
  web: { kind: docker }`,
    ['line 2, column 3: backends.web.host: say exactly one of host:, context: or fromEnvironment: true'],
  ],
  [
    'containerd without a namespace',
    `backends:
  node: { kind: containerd }`,
    [
      'line 2, column 3: backends.node.namespace: one namespace as `ctr namespaces list` shows them, for example k8s.io or default',
    ],
  ],
  [
    'an agent that there is not',
    `backends:
  lab: { kind: docker, through: lba }
agents:
  lab: { key: 'ed25519:l7vZ3oH8jS1mVb2Qx0aEwYk5cTn4RfUg6dPiLhBzXyM' }`,
    ['line 2, column 33: backends.lab.through: there is no agent called lba; under agents: there are lab'],
  ],
  [
    'through and an address',
    `backends:
  lab: { kind: docker, through: lab, host: 'unix:///x', socket: y }
agents:
  lab: { key: 'ed25519:l7vZ3oH8jS1mVb2Qx0aEwYk5cTn4RfUg6dPiLhBzXyM' }`,
    ['line 2, column 44: backends.lab.host: this stands in the agent’s own file, not here'],
  ],
  [
    'a time without a unit',
    `limits:
  timeout: 20
  maxTimeout: "20"`,
    [
      'line 2, column 12: limits.timeout: write a time like 20s, 5m or 500ms',
      'line 3, column 15: limits.maxTimeout: write a time like 20s, 5m or 500ms',
    ],
  ],
  [
    'limits too large',
    `limits: { targets: 0, parallel: 1000, outputBytes: many }`,
    [
      'line 1, column 20: limits.targets: at least 1',
      'line 1, column 33: limits.parallel: at most 256',
      'line 1, column 52: limits.outputBytes: write a number',
    ],
  ],
  [
    'a boolean as in YAML 1.1',
    `rules:
  - { id: me, effect: allow, who: { cli: yes }, commands: [uptime] }`,
    ['line 2, column 42: rule 1 (me), who.cli: write true, or take the key out'],
  ],
  [
    'a command that is a number',
    `rules:
  - id: me
    effect: allow
    who: { cli: true }
    commands: [42, [ls, -l]]`,
    [
      'line 5, column 16: rule 1 (me), commands, item 1: write a text; YAML takes this for a number: put it in quotes',
      'line 5, column 20: rule 1 (me), commands, item 2: write a text',
    ],
  ],
  [
    'commands as one text',
    `rules:
  - { id: me, effect: allow, who: { cli: true }, commands: uptime }`,
    ['line 2, column 60: rule 1 (me), commands: write a list: put it in [ ]'],
  ],
  [
    'an effect that there is not',
    `rules:
  - { id: me, effect: permit, who: { cli: true }, commands: [uptime] }`,
    ['line 2, column 23: rule 1 (me), effect: there is no permit; there are allow, deny'],
  ],
  [
    'a right that there is not',
    `rules:
  - { id: me, effect: allow, who: { cli: true }, commands: [uptime], rights: [shel, root] }`,
    [
      'line 2, column 79: rule 1 (me), rights, item 1: there is no shel; did you mean shell? (there are shell, env, all, system, privileged, user)',
      'line 2, column 85: rule 1 (me), rights, item 2: there is no root; there are shell, env, all, system, privileged, user',
    ],
  ],
  [
    'a rollout that there is not',
    `rules:
  - { id: me, effect: allow, who: { cli: true }, rollouts: ['imgae main=x'] }`,
    [
      'line 2, column 61: rule 1 (me), rollouts, item 1: begins with one of image, restart, pause, resume, undo, scale, finish, status; "..." alone means any',
    ],
  ],
  [
    'rules as a map',
    `rules:
  oncall: { effect: deny }`,
    ['line 1, column 1: rules: write a list: begin each entry with "- "'],
  ],
  [
    'rules that are all comments',
    `rules:
#  - { id: me, effect: allow }
backends:`,
    [
      'line 1, column 1: rules: nothing stands here; write a list under it, or take the key out',
      'line 3, column 1: backends: nothing stands here; write names with what belongs to each under it, or take the key out',
    ],
  ],
  [
    'two rules of one id',
    `rules:
  - { id: a, effect: deny }
  - { id: b, effect: deny }
  - { id: a, effect: deny }`,
    ['line 4, column 11: rule 3 (a), id: rule 1 has this id, too; give each its own'],
  ],
  [
    'an id with a space',
    `rules:
  - { id: On Call, effect: deny }`,
    [
      'line 2, column 11: rule 1 (On Call), id: a name of lower case letters, digits, - and _, which begins with a letter or digit',
    ],
  ],
  [
    'a label that does not parse',
    `rules:
  - { id: a, effect: deny, targets: { labels: "a b c" } }`,
    [
      'line 2, column 47: rule 1 (a), targets.labels: The label term "a b c" is not understood. Use key, key=value, key!=value, !key or "key in (a,b)", with commas for "and".',
    ],
  ],
  [
    'a quote of a command that is open',
    `rules:
  - { id: a, effect: deny, commands: ['ls "x'] }`,
    [
      'line 2, column 39: rule 1 (a), commands, item 1: The double quote opened here is not closed. Close it with another double quote, or put a backslash before it if it is meant literally.',
    ],
  ],
  [
    'Slack without a way in',
    `slack: { botToken: { env: SLACK_BOT_TOKEN }, team: T0123ABC }`,
    ['line 1, column 1: slack: say how Slack reaches drover: signingSecret for requests over HTTP, or appToken for Socket Mode'],
  ],
  [
    'Slack without a team, and with a name',
    `slack:
  signingSecret: { env: SLACK_SIGNING_SECRET }
  botToken: { env: SLACK_BOT_TOKEN }
  team: acme
  shareTo: ['#inc']
  command: exec`,
    [
      'line 4, column 9: slack.team: ids, not names: write it like T0123ABC',
      'line 5, column 13: slack.shareTo, item 1: ids, not names: write it like C0123ABC',
      'line 6, column 12: slack.command: a slash command as the app’s settings have it, like /exec: small letters, digits, - and _',
    ],
  ],
  [
    'a hook without Slack',
    `hooks:
  disk: { secrets: [{ env: HOOK_DISK_ALERT }], channel: T0123ABC/C0123ABC, request: label=web -- df -h }`,
    [
      'line 1, column 1: hooks: a hook’s answer goes to its channel in Slack, and no Slack is configured: configure slack:, or take the hooks out',
    ],
  ],
  [
    'a rule for a hook that is not there',
    `rules:
  - { id: a, effect: allow, who: { webhooks: [disk] }, commands: [df] }`,
    ['line 2, column 47: rule 1 (a), who.webhooks, item 1: there is no hook called disk; under hooks: there are none'],
  ],
  [
    'S44 rules that could never hold, by a slip of the finger: a deny like that would forbid nothing',
    `backends:
  kube: { kind: kubernetes, kubeconfig: ~/.kube/config }
  lab: { kind: docker, host: unix:///var/run/docker.sock, newContainers: { mounts: { src: { source: /srv, target: /srv } } } }
rules:
  - { id: a, effect: deny, targets: { on: [kubee, k*, staging] }, commands: [df] }
  - { id: b, effect: deny, targets: { workload: [api, '*/api'] }, rollouts: ['...'] }
  - { id: c, effect: deny, mounts: [scr, s*], commands: [df] }`,
    [
      'line 5, column 44: rule 1 (a), targets.on, item 1: there is no backend called kubee; did you mean kube? (backends here: kube, lab)',
      'line 5, column 55: rule 1 (a), targets.on, item 3: there is no backend called staging; backends here: kube, lab',
      'line 6, column 50: rule 2 (b), targets.workload, item 1: a workload is called by its kind and name, like deployment/api, or stack/service',
      'line 7, column 37: rule 3 (c), mounts, item 1: there is no mount called scr; mounts here: src',
    ],
  ],
  [
    'a thread that is a number',
    `hooks:
  disk: { secrets: [{ env: HOOK_DISK_ALERT }], channel: T0123ABC/C0123ABC, request: label=web -- df -h, thread: 1712345678.000100 }`,
    [
      'line 2, column 113: hooks.disk.thread: the ts of a message, like "1712345678.000100" in quotes, or { pointer: /alert/thread } where the body has one',
    ],
  ],
  [
    'a tab',
    `rules:
\t- { id: a, effect: deny }`,
    ['line 2, column 1: a tab; indent with spaces'],
  ],
  [
    'an item out of line',
    `rules:
  - id: a
   effect: deny`,
    ['line 3, column 1: this line stands neither under the item above nor beside it: mend its indentation'],
  ],
  [
    'a bracket that is open',
    `rules:
  - { id: a, effect: deny
backends: {}`,
    ['line 3, column 1: the { before this line is not closed'],
  ],
  [
    'a key twice',
    `limits: { targets: 5 }
rules: []
limits: { targets: 6 }`,
    ['line 3, column 1: the key limits stands here a second time; put both together'],
  ],
  [
    'two documents',
    `rules: []
---
rules: []`,
    ['line 2, column 1: a second document begins here (---); a configuration is one'],
  ],
  [
    'a star without quotes',
    `rules:
  - { id: a, effect: deny, commands: [*] }`,
    ['line 2, column 39: a text that begins with * has to stand in quotes'],
  ],
  ['a tag', `mask: [!secret x]`, ['line 1, column 8: a tag (!…) means nothing here; take it out, or put the text in quotes']],
  [
    'a quote within a quote',
    `rules:
  - { id: a, effect: deny, reason: 'it's late' }`,
    ['line 2, column 40: this cannot follow what stands before it; a text with quotes in it goes in the other kind of quotes'],
  ],
  [
    'a colon in a text',
    `rules:
  - id: a
    effect: deny
    reason: why: because`,
    ['line 4, column 13: a second ": " in one line; put a text that holds one in quotes, or begin a new line'],
  ],
  ['a list at the top', `- id: a`, ['line 1, column 1: the file: write keys with values']],
  [
    'newContainers',
    `backends:
  web: { kind: docker, host: 'unix:///a', newContainers: { network: [none], memory: 256, mounts: { data: /srv } } }`,
    [
      'line 2, column 60: backends.web.newContainers: unknown key network; did you mean networks? (keys here: …)',
      'line 2, column 85: backends.web.newContainers.memory: write a text; YAML takes this for a number: put it in quotes',
      'line 2, column 106: backends.web.newContainers.mounts.data: write keys with values',
    ],
  ],
  [
    'swarm nodes',
    `backends:
  web: { kind: swarm, host: 'unix:///a', nodes: { n: { hots: 'unix:///b' } }, temporaryService: { image: 'docker:29' } }`,
    [
      'line 2, column 51: backends.web.nodes.n.host: say exactly one of host:, context: or fromEnvironment: true',
      'line 2, column 56: backends.web.nodes.n: unknown key hots; did you mean host? (keys here: …)',
      'line 2, column 106: backends.web.temporaryService.image: name it by digest, name@sha256:… or sha256:…: what a mere tag names can change, and it gets the socket of every engine',
    ],
  ],
  [
    'kubernetes ca and groups',
    `backends:
  kube: { kind: kubernetes, server: 'https://10.0.0.1', ca: [x], namespaces: shop, impersonateGroup: 5 }`,
    [
      'line 2, column 57: backends.kube.ca: write a text, or write { env: NAME_OF_A_VARIABLE }; secrets never stand in the file',
      'line 2, column 78: backends.kube.namespaces: write a list: put it in [ ]',
      'line 2, column 102: backends.kube.impersonateGroup: write a text; YAML takes this for a number: put it in quotes, or write a list',
    ],
  ],
  [
    'rancher2',
    `backends:
  r: { kind: rancher2, url: https://r.example.com, token: { env: HOOK_DISK_ALERT }, mode: v1 }`,
    [
      'line 2, column 52: backends.r.token: the value is half of an API key: Rancher’s keys are two parts with a colon between, token-xxxxx:secret (“Bearer Token” on the page that shows a new key)',
      'line 2, column 91: backends.r.mode: there is no v1; did you mean v3? (there are proxy, v3)',
    ],
  ],
]

const ofAgents: readonly (readonly [string, string, readonly string[]])[] = [
  [
    'no key',
    `name: lab
gateway: https://drover.example.com
engine: { kind: docker, host: 'unix:///x' }
allow: {}`,
    ['line 1, column 1: key: it is missing; the path of the file that `drover agent keygen` made, beside this one'],
  ],
  [
    'a key as a reference',
    `name: lab
gateway: https://drover.example.com
key: { env: AGENT_KEY }
engine: { kind: docker, host: 'unix:///x' }
allow: {}`,
    ['line 3, column 1: key: the path of the file that `drover agent keygen` made, beside this one'],
  ],
  [
    'an engine with through',
    `name: lab
gateway: https://drover.example.com
key: agent.key
engine: { kind: docker, host: 'unix:///x', through: lab }
allow: {}`,
    ['line 4, column 44: engine: unknown key through; keys here: …'],
  ],
  [
    'an unknown engine, and no list',
    `name: lab
gateway: https://drover.example.com
key: agent.key
engine: { kind: dokcer, host: 'unix:///x' }`,
    [
      'line 4, column 17: engine.kind: there is no dokcer; did you mean docker? (there are docker, kubernetes, rancher1, rancher2, containerd, swarm)',
    ],
  ],
  [
    'no list',
    `name: lab
gateway: https://drover.example.com
key: agent.key
engine: { kind: docker, host: 'unix:///x' }`,
    ['line 1, column 1: allow: say which containers: names:, labels:, or allow: {} for all that are not privileged'],
  ],
  [
    'a list with a typo',
    `name: lab
gateway: https://drover.example.com
key: agent.key
engine: { kind: docker, host: 'unix:///x' }
allow: { label: exec=allowed }`,
    ['line 5, column 10: allow: unknown key label; did you mean labels? (keys here: …)'],
  ],
  [
    'a list for a kind that has none',
    `name: lab
gateway: https://drover.example.com
key: agent.key
engine: { kind: kubernetes, inCluster: true, namespaces: [shop] }
allow: { names: [web] }`,
    [
      'line 5, column 1: allow: of kubernetes this says rollout: and nothing else; what may be reached engine: says, by namespaces or project',
      'line 5, column 10: allow.names: not for kubernetes',
    ],
  ],
  [
    'verbs that there are not',
    `name: lab
gateway: https://drover.example.com
key: agent.key
engine: { kind: kubernetes, inCluster: true, namespaces: [shop] }
allow: { rollout: { verbs: [restart, delete] } }`,
    [
      'line 5, column 38: allow.rollout.verbs, item 2: there is no delete; there are image, scale, restart, pause, resume, undo, finish, status',
    ],
  ],
  [
    'no gateway',
    `name: lab
key: agent.key
engine: { kind: docker, host: 'unix:///x' }
allow: {}`,
    ['line 1, column 1: gateway: it is missing; the address of the gateway, like https://drover.example.com'],
  ],
]

describe('a drover.yaml is refused in words that name the line, the place and what to write', () => {
  it.each(mistakes)('%s', (_, text, lines) => {
    expect(saidBy(() => parseConfig(text, 'drover.yaml', env))).toEqual(lines)
  })

  it('an unknown key is told which there are, `through` among those of a backend', () => {
    const refused = (text: string) => {
      try {
        parseConfig(text, 'drover.yaml', env)
      } catch (error) {
        return error instanceof DroverError ? error.message : ''
      }
      return ''
    }
    expect(refused('rules: [{ id: a, effect: deny, targets: { pods: [x] } }]')).toContain(
      'unknown key pods; did you mean pod? (keys here: on, name, labels, stack, service, task, namespace, workload, pod, container, image, host)',
    )
    expect(refused(`backends: { b: { kind: docker, host: 'unix:///a', trough: lab } }`)).toMatch(
      /unknown key trough; did you mean through\? \(keys here: kind, host, .*, through\)/,
    )
    const behind = refused(`backends: { b: { kind: docker, through: lab, hosst: x } }`)
    expect(behind).toMatch(/unknown key hosst; keys here: kind, .*through/)
    expect(behind).not.toMatch(/[ ,]host[,)]/)
  })

  it('[bounded] twenty of many mistakes are told, in the order of the file', () => {
    const rules = Array.from({ length: 25 }, (_, i) => `  - { id: r${i}, effect: x }`)
    const lines = saidBy(() => parseConfig(['rules:', ...rules].join('\n'), 'drover.yaml', env))
    expect(lines).toHaveLength(21)
    expect(lines[11]).toBe('line 13, column 24: rule 12 (r11), effect: there is no x; there are allow, deny')
    expect(lines[20]).toBe('and 5 more')
  })

  it('[no-secret-shown] S34 what stands in the place of a reference, a name or an id is not printed', () => {
    const secret = 'hunter2-hunter2-hunter2'
    const texts = [
      `backends: { b: { kind: rancher1, url: http://r, accessKey: ${secret}, secretKey: { env: ${secret}! } } }`,
      `rules: [{ id: a, effect: ${secret}, who: { users: [${secret}] }, rights: [${secret}], commands: [x] }]`,
      `slack: { botToken: "${secret}", signingSecret: [${secret}], team: ${secret}, command: ${secret} }`,
      `mask: [${secret}, "${secret}`,
      `mask: !secret ${secret}`,
    ]
    for (const text of texts) {
      const said = saidBy(() => parseConfig(text, 'drover.yaml', env)).join('\n')
      expect(said).not.toBe('')
      expect(said).not.toContain('hunter2')
    }
  })

  it('what was not written as YAML has no lines', () => {
    const text = JSON.stringify({ backends: { rancher: { kind: 'rancher1', url: 'x' } } })
    const [line] = saidBy(() => parseConfig(text, 'the command line', env, { isMade: true }))
    expect(line).toMatch(/^backends\.rancher\.url: an http/)
  })
})

describe('an agent.yaml is refused in such words, too', () => {
  it.each(ofAgents)('%s', (_, text, lines) => {
    expect(saidBy(() => parseYaml(text, 'agent.yaml', agentSettings({ secret: secretOf(env, 6), labels })))).toEqual(lines)
  })
})

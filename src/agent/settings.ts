/** What drover.yaml says of agents, and what an agent's own file says. */

import * as z from 'zod'
import { containerdSettings } from '../backends/containerd/settings.ts'
import { dockerSettings } from '../backends/docker/settings.ts'
import { kubernetesSettings } from '../backends/kubernetes/settings.ts'
import { rancher1Settings } from '../backends/rancher1/settings.ts'
import { rancher2Settings } from '../backends/rancher2/settings.ts'
import type { SettingsContext } from '../backends/settings.ts'
import { swarmSettings } from '../backends/swarm/settings.ts'
import type { LabelTerm } from '../core/model.ts'
import { agentName } from './through-settings.ts'

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(host)

const KEY_FILE = 'the path of the file that `drover agent keygen` made, beside this one'

const images = z.array(z.string().min(1)).min(1)

/** What may be reached: of names and labels both have to hold, where both are said. */
const which = (labels: SettingsLabels) => ({
  /** By name, as globs; absent: by any name. */
  names: z.array(z.string().min(1)).min(1).optional(),
  labels: labels.optional(),
  /** Those that are as good as root on the host, too. */
  privileged: z.literal(true).optional(),
})

/** The agent's own list: absent is no. */
const list = (labels: SettingsLabels) =>
  z.strictObject({
    /** Containers. */
    ...which(labels),
    /** Images that new containers may be made from, as globs; absent: none is made. */
    images: images.optional(),
    /** Networks that new containers may have; absent: none. */
    networks: z.array(z.string().min(1)).min(1).optional(),
    helperImage: z.string().min(1).optional(),
    /** Changes of workloads; absent: none. */
    rollout: z
      .strictObject({
        ...which(labels),
        verbs: z.array(z.enum(['image', 'scale', 'restart', 'pause', 'resume', 'undo', 'finish', 'status'])).min(1),
        /** Images that `image` may set, as globs. */
        images: images.optional(),
      })
      .refine(({ verbs, images: may }) => verbs.includes('image') === (may !== undefined), {
        path: ['images'],
        error: 'say which images rollout image may set; without that verb leave it out',
      })
      .optional(),
  })

/** What of it means something for a kind of engine. */
const LISTS: Readonly<Record<string, readonly string[]>> = {
  docker: ['names', 'labels', 'privileged', 'images', 'networks', 'helperImage'],
  containerd: ['names', 'labels', 'privileged', 'images'],
  swarm: ['names', 'labels', 'privileged'],
  kubernetes: ['rollout'],
  rancher1: ['rollout'],
  rancher2: ['rollout'],
}

type SettingsLabels = z.ZodType<readonly LabelTerm[], string>

export type AgentContext = SettingsContext & { readonly labels: SettingsLabels }

export function agentSettings(context: AgentContext) {
  return z
    .strictObject({
      name: agentName,
      gateway: z.url({ protocol: /^https?$/, error: 'the address of the gateway, like https://drover.example.com' }),
      /** Path of the file that `drover agent keygen` made. */
      key: z.string(KEY_FILE).min(1),
      /** Speak to a gateway that is not on this machine without TLS: who is on the way can do what the gateway can. */
      plaintext: z.literal(true).optional(),
      /** Path of the PEM of a private CA that signed the gateway's certificate. */
      ca: z.string().min(1).optional(),
      /** For CONNECT, where the gateway is reached through one. */
      proxy: z.url({ protocol: /^https?$/ }).optional(),
      engine: z.discriminatedUnion('kind', [
        dockerSettings(),
        kubernetesSettings(context),
        rancher1Settings(context),
        rancher2Settings(context),
        containerdSettings(),
        swarmSettings(),
      ]),
      /** Containers of Docker, containerd and a swarm; of the others `engine:` names them, by namespaces and projects. */
      allow: list(context.labels).optional(),
    })
    .superRefine(({ gateway, plaintext, engine, allow }, issues) => {
      const say = (path: readonly string[], message: string) => issues.addIssue({ code: 'custom', path: [...path], message })
      // Said already.
      if (!URL.canParse(gateway)) return
      const url = new URL(gateway)
      if (url.pathname !== '/' || url.search !== '' || url.username !== '') say(['gateway'], 'an address alone, without a path')
      if (url.protocol === 'http:' && !isLoopback(url.hostname) && !plaintext)
        say(['gateway'], 'this is not encrypted: use https://, or say plaintext: true')
      const { kind } = engine
      const isNamed = kind === 'docker' || kind === 'containerd' || kind === 'swarm'
      if (isNamed && allow === undefined)
        say(['allow'], 'say which containers: names:, labels:, or allow: {} for all that are not privileged')
      if (!isNamed && allow !== undefined && allow.rollout === undefined)
        say(
          ['allow'],
          `of ${kind} this says rollout: and nothing else; what may be reached engine: says, by namespaces or project`,
        )
      const stray = Object.keys(allow ?? {}).find((key) => !LISTS[kind]?.includes(key))
      if (stray !== undefined) say(['allow', stray], `not for ${kind}`)
      if (kind === 'docker' && (engine.helperImage !== undefined || engine.newContainers !== undefined))
        say(
          ['engine'],
          'helperImage and newContainers stand in drover.yaml; here allow: says helperImage:, images: and networks:',
        )
      if (kind === 'containerd' && allow?.images !== undefined && engine.newContainers === undefined)
        say(['engine', 'newContainers'], 'say within which bounds new containers of allow.images are made')
      if (engine.kind === 'kubernetes' && engine.namespaces === undefined && engine.allNamespaces === undefined)
        say(['engine', 'namespaces'], 'say which namespaces may be reached, or allNamespaces: true')
      if (engine.kind === 'kubernetes' && engine.impersonate !== 'none')
        say(['engine', 'impersonate'], 'not through an agent: it would take the gateway’s word for who asks')
      if (engine.kind === 'rancher1' && engine.project === undefined)
        say(['engine', 'project'], 'say which environment, like 1a5')
      if (engine.kind === 'rancher2' && (engine.cluster === undefined || engine.namespaces === undefined))
        say(['engine', engine.cluster === undefined ? 'cluster' : 'namespaces'], 'say cluster: and namespaces:')
    })
}

export type AgentSettings = z.output<ReturnType<typeof agentSettings>>
export type EngineSettings = AgentSettings['engine']

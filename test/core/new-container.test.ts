/** New containers in the core: what a line means by `image=`, which images a rule covers, and which engine makes it. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCommandLine } from '../../src/core/command-line.ts'
import { meansImage, spellings } from '../../src/core/images.ts'
import type { Actor, NewContainer, Target, TargetId } from '../../src/core/model.ts'
import { imageFault } from '../../src/core/new-container.ts'
import { decide, mayReach } from '../../src/core/policy.ts'
import type { Policy, Question, Rule } from '../../src/core/rule.ts'

const parse = (text: string) => parseCommandLine(text)
const failure = (text: string) => {
  try {
    parse(text)
  } catch (error) {
    return error as { code: string; message: string; position: number }
  }
  throw new Error('it parsed')
}

describe('what image= means', () => {
  it('a lone image is one to make a container from, with what a container can be given', () => {
    expect(parse('image=alpine:3 on=docker network=none memory=256m cpus=0.5 env=A=b dir=/srv timeout=5s -- wc -c')).toEqual({
      verb: 'exec',
      selector: { on: 'docker' },
      newContainer: { image: 'alpine:3', network: 'none', memoryBytes: 256 * 1024 ** 2, cpus: 0.5 },
      command: { argv: ['wc', '-c'], env: { A: 'b' }, dir: '/srv' },
      timeoutMs: 5000,
    })
  })

  it('mounts are asked for by name', () => {
    expect(parse('image=alpine:3 mounts=src,cache_2 -- ls')).toMatchObject({ newContainer: { mounts: ['src', 'cache_2'] } })
  })

  it.each(['label=web', 'name=web-1', 'id=1i1', 'service=web', 'namespace=shop', 'any=1', 'all=3'])(
    'beside %s it narrows running containers, and no container is made',
    (other) => {
      const line = parse(`image=alpine:3 ${other} -- uptime`)
      expect(line).not.toHaveProperty('newContainer')
      expect(line).toMatchObject({ selector: { facets: { image: 'alpine:3' } } })
    },
  )

  it('a glob names no image to make a container from: it narrows running ones', () => {
    expect(parse('image=nginx* -- uptime')).not.toHaveProperty('newContainer')
  })

  it('[no-empty-selector] S44 whoever loses newContainer is left with no selector, not with every container of the image', () => {
    expect(parse('image=alpine:3 -- id')).toMatchObject({ selector: {} })
  })

  it.each([
    ['label=web network=none -- id', 'network='],
    ['name=web-1 memory=1g -- id', 'memory='],
    ['image=Not an image -- id', ''],
    ['image=-v/:/host -- id', 'image='],
    ['image=a$(id) -- id', 'image='],
    ['image=alpine memory=1 -- id', 'memory='],
    ['image=alpine memory=1m -- id', 'memory='],
    ['image=alpine cpus=0 -- id', 'cpus='],
    ['image=alpine network=--privileged -- id', 'network='],
    ['image=alpine mounts=/etc -- id', 'mounts='],
    ['image=alpine mounts=a,,b -- id', 'mounts='],
    ['image=alpine mounts=a:/b -- id', 'mounts='],
    ['image=alpine mounts=A -- id', 'mounts='],
    ['image=alpine mounts= -- id', 'mounts='],
    ['label=web mounts=src -- id', 'mounts='],
    [`image=alpine mounts=${Array.from({ length: 17 }, (_, i) => `m${i}`).join(',')} -- id`, 'mounts='],
  ])('%s is a mistake, and says where', (text, key) => {
    expect(failure(text)).toMatchObject({ code: 'usage' })
    expect(failure(text).message).toContain(key)
  })

  it('a targets line looks at running containers: it makes none', () => {
    expect(parse('targets image=alpine:3')).toEqual({ verb: 'targets', selector: { facets: { image: 'alpine:3' } } })
  })

  it('an image never begins with a dash or holds a space or a shell’s signs', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        if (imageFault(text) === undefined) expect(text).toMatch(/^[A-Za-z0-9][\w.:/@-]*$/)
      }),
    )
  })
})

const ann: Actor = { kind: 'slack-user', team: 'T1', user: 'U1' }
const asks = (image?: string, mounts?: readonly string[]): Question => ({
  request: {
    actor: ann,
    place: { kind: 'slack', team: 'T1', channel: 'C1' },
    trigger: { kind: 'slash', delivery: 'd' },
    selector: image === undefined ? { name: 'web' } : {},
    command: { argv: ['id'] },
    ...(image === undefined ? {} : { newContainer: { image, ...(mounts ? { mounts } : {}) } satisfies NewContainer }),
  },
  groups: [],
})
const target = (image = 'alpine:3'): Target => ({
  id: 'docker/new' as TargetId,
  backend: 'docker',
  kind: 'docker',
  native: 'new',
  name: 'new',
  labels: {},
  facets: { image },
  creates: { image },
})
const allow = (more: Partial<Rule> = {}): Rule => ({
  ...{ id: 'ops', effect: 'allow', who: { users: ['T1/U1'] }, commands: [['...']] },
  ...more,
})
const forbid = (more: Partial<Rule> = {}): Rule => ({ id: 'no', effect: 'deny', who: {}, ...more })
const effect = (rules: readonly Rule[], image?: string, mounts?: readonly string[]) => {
  const policy: Policy = { rules, version: 'test' }
  return decide(policy, asks(image, mounts), [target(image)]).effect
}

describe('which mounts a rule covers', () => {
  const images = ['*']
  it('[default-deny] a rule without mounts lets none be had, whatever its images and rights', () => {
    const rights = ['shell', 'env', 'all', 'system', 'privileged', 'user'] as const
    expect(effect([allow({ images, rights: [...rights] })], 'alpine:3', ['src'])).toBe('deny')
    expect(effect([allow({ images, rights: [...rights] })], 'alpine:3')).toBe('allow')
  })

  it.each<[readonly string[], readonly string[], 'allow' | 'deny']>([
    [['src'], ['src'], 'allow'],
    [['src'], ['src', 'cache'], 'deny'],
    [['src'], ['src2'], 'deny'],
    [['src', 'cache'], ['cache', 'src'], 'allow'],
    [['*-ro'], ['src-ro'], 'allow'],
    [['*-ro'], ['src'], 'deny'],
    [['src'], [], 'allow'],
  ])('mounts: %j and mounts=%j: %s', (mounts, wanted, expected) => {
    expect(effect([allow({ images, mounts })], 'alpine:3', wanted)).toBe(expected)
  })

  it('two rules that allow one mount each do not allow both together', () => {
    const rules = [allow({ id: 'a', images, mounts: ['a'] }), allow({ id: 'b', images, mounts: ['b'] })]
    expect([effect(rules, 'alpine:3', ['a']), effect(rules, 'alpine:3', ['b'])]).toEqual(['allow', 'allow'])
    expect(effect(rules, 'alpine:3', ['a', 'b'])).toBe('deny')
  })

  it('a deny rule with mounts forbids any of them, and nothing else', () => {
    const open = allow({ images, mounts: ['*'] })
    expect(effect([forbid({ mounts: ['src'] }), open], 'alpine:3', ['cache', 'src'])).toBe('deny')
    expect(effect([forbid({ mounts: ['src'] }), open], 'alpine:3', ['cache'])).toBe('allow')
    expect(effect([forbid({ mounts: ['src'] }), open], 'alpine:3')).toBe('allow')
    expect(effect([forbid({ mounts: ['*'] }), open])).toBe('allow')
    expect(effect([forbid({ images: ['alpine:*'], mounts: ['src'] }), open], 'busybox:1', ['src'])).toBe('allow')
    expect(effect([forbid({ commands: [['id']], mounts: ['src'] }), open], 'alpine:3', ['src'])).toBe('deny')
  })

  it('a deny rule about mounts hides no running container from who looks', () => {
    const policy: Policy = { rules: [forbid({ mounts: ['src'] }), allow({ images, mounts: ['*'] })], version: 'test' }
    const { creates: _, ...running } = target()
    expect(mayReach(policy, { actor: ann, place: { kind: 'slack', team: 'T1', channel: 'C1' }, groups: [] }, running)).toBe(true)
  })
})

describe('which images a rule covers', () => {
  it('[default-deny] a rule without images lets no container be made, whatever its commands and rights', () => {
    const rights = ['shell', 'env', 'all', 'system', 'privileged', 'user'] as const
    expect(effect([allow({ rights: [...rights] })], 'alpine:3')).toBe('deny')
  })

  it('a rule with images still needs the command', () => {
    expect(effect([allow({ images: ['*'], commands: [['uptime']] })], 'alpine:3')).toBe('deny')
    expect(effect([allow({ images: ['*'], commands: [['id']] })], 'alpine:3')).toBe('allow')
  })

  it.each<[string, string, 'allow' | 'deny']>([
    ['alpine:3', 'alpine:3', 'allow'],
    ['alpine:3', 'alpine:3.1', 'deny'],
    ['alpine:*', 'alpine:edge', 'allow'],
    ['alpine:*', 'alpine:5000/evil', 'deny'],
    ['alpine*', 'alpine.evil.com/x', 'deny'],
    ['*', 'anything.example.com/a/b:1', 'allow'],
    ['registry.example.com/*', 'registry.example.com/tools/dig:1', 'allow'],
    ['registry.example.com/*', 'registry.example.com.evil.com/x', 'deny'],
    ['registry.example.com/tools/*', 'registry.example.com/other:1', 'deny'],
    ['registry.example.com/tools@sha256:*', 'registry.example.com/tools:latest', 'deny'],
    ['registry.example.com/tools@sha256:ab', 'registry.example.com/tools@sha256:ab', 'allow'],
    // A digest wins over the tag beside it.
    ['busybox:1.36*', 'busybox:1.36@sha256:0123', 'deny'],
    ['busybox:1.3?', 'busybox:1.36@sha256:0123', 'deny'],
    ['registry.example.com/tools:v?.?', 'registry.example.com/tools:v1.2@sha256:0123', 'deny'],
    ['busybox:1.36*@sha256:0123', 'busybox:1.36.1@sha256:0123', 'allow'],
    ['busybox:*', 'busybox:1.36@sha256:0123', 'allow'],
    ['busybox*', 'busybox@sha256:0123', 'allow'],
    ['registry.example.com/*', 'registry.example.com/a/b:1@sha256:0123', 'allow'],
    // The begin of an id is an image to Docker: a glob for names does not let it in.
    ['b*', 'beef', 'deny'],
    ['be?f', 'beef', 'deny'],
    ['beef', 'beef', 'allow'],
    ['*', 'beef', 'allow'],
    ['sha256:*', 'sha256:0123', 'allow'],
    // Another name for it is not the name that was allowed.
    ['alpine:3', 'docker.io/library/alpine:3', 'deny'],
    ['alpine:3', 'ALPINE:3', 'deny'],
  ])('images: [%s] and image=%s: %s', (glob, image, wanted) => {
    expect(effect([allow({ images: [glob] })], image)).toBe(wanted)
  })

  it('a deny rule without images forbids its commands in new containers too; one with images is about those alone', () => {
    const open = allow({ images: ['*'] })
    expect(effect([forbid({ commands: [['id']] }), open], 'alpine:3')).toBe('deny')
    expect(effect([forbid(), open], 'alpine:3')).toBe('deny')
    expect(effect([forbid({ images: ['alpine:*'] }), open], 'alpine:3')).toBe('deny')
    expect(effect([forbid({ images: ['alpine:*'] }), open], 'busybox:1')).toBe('allow')
    expect(effect([forbid({ images: ['*'] }), open])).toBe('allow')
  })

  it.each<[string, string, 'allow' | 'deny']>([
    ['alpine:*', 'alpine', 'deny'],
    ['alpine:latest', 'alpine', 'deny'],
    ['alpine', 'alpine:latest', 'deny'],
    ['alpine:3', 'docker.io/library/alpine:3', 'deny'],
    ['alpine:3', 'library/alpine:3', 'deny'],
    ['alpine:3', 'index.docker.io/library/alpine:3', 'deny'],
    ['alpine:3', 'registry-1.docker.io/library/alpine:3', 'deny'],
    ['docker.io/library/alpine:*', 'alpine:3', 'deny'],
    ['docker.io/shop/*', 'shop/api:1', 'deny'],
    ['shop/*', 'docker.io/shop/api:1', 'deny'],
    ['registry.example.com/evil/*', 'Registry.Example.com/evil/x:1', 'deny'],
    ['registry.example.com/evil/*', 'registry.example.com:443/evil/x:1', 'deny'],
    ['alpine:3', 'alpine@sha256:0123', 'deny'],
    ['alpine:3', 'alpine:edge@sha256:0123', 'deny'],
    ['alpine@sha256:0123', 'alpine:3@sha256:0123', 'deny'],
    ['alpine:3', 'sha256:0123456789ab', 'deny'],
    ['alpine:3', '0123456789ab', 'deny'],
    ['alpine:3', 'alpine:edge', 'allow'],
    ['alpine:3', 'registry.example.com/alpine:3', 'allow'],
    ['alpine@sha256:0123', 'alpine@sha256:4567', 'allow'],
    ['shop/*', 'registry.example.com/shop/api:1', 'allow'],
    ['registry.example.com/evil/*', 'registry.example.com:5000/evil/x:1', 'allow'],
  ])('[default-deny] what forbids %s does so under every name: image=%s is %s', (glob, image, wanted) => {
    const open = allow({ images: ['*'] })
    expect(effect([forbid({ images: [glob] }), open], image)).toBe(wanted)
  })

  it('[default-deny] a deny rule by the image of its targets is not escaped by another name of it', () => {
    const open = allow({ images: ['*'] })
    const rules = [forbid({ targets: { facets: { image: ['alpine:3'] } } }), open]
    expect(effect(rules, 'docker.io/library/alpine:3')).toBe('deny')
    expect(effect(rules, 'alpine:edge')).toBe('allow')
    // A container that was made from an id has no name to be judged by.
    expect([effect(rules, `sha256:${'0'.repeat(64)}`), effect(rules, '0123456789ab')]).toEqual(['deny', 'deny'])
    const only = allow({ images: ['*'], targets: { facets: { image: ['alpine:3'] } } })
    expect(effect([only], 'docker.io/library/alpine:3')).toBe('deny')
    expect(effect([only], `sha256:${'0'.repeat(64)}`)).toBe('deny')
  })

  it('a name goes under itself, and every spelling of it under every other', () => {
    const part = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/)
    const end = fc.constantFrom('', ':latest', ':3')
    const host = fc.constantFrom('', 'docker.io/', 'registry.example.com/', 'localhost/', 'h:5000/')
    fc.assert(
      fc.property(host, fc.array(part, { minLength: 1, maxLength: 3 }), end, (registry, path, tail) => {
        const image = registry + path.join('/') + tail
        const all = spellings(image)
        expect(all).toContain(image)
        expect(all.length).toBeLessThan(70)
        for (const one of all) expect(meansImage(image, one)).toBe(true)
      }),
    )
  })

  it('images take nothing away from running containers', () => {
    expect(effect([allow({ images: ['alpine:*'] })])).toBe('allow')
  })
})

/** `rollout …` as people type it: every verb, every refusal with its place, and that the words and the rollout say the same. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseArguments, parseCommandLine } from '../../src/core/command-line.ts'
import { DroverError } from '../../src/core/errors.ts'
import type { Rollout } from '../../src/core/model.ts'
import { faultOf, rolloutArgv, rolloutVerbs } from '../../src/core/rollout.ts'
import { rolloutForm } from '../../src/core/rollout-line.ts'

function refusal(text: string, unsaid: 'exec' | 'rollout' = 'exec') {
  try {
    parseCommandLine(text, unsaid)
  } catch (error) {
    if (error instanceof DroverError) return error.toFailure()
    throw error
  }
  throw new Error(`${text} was taken`)
}

const api = { facets: { workload: 'deployment/api' } }

describe('the grammar of a rollout', () => {
  it.each<[string, Rollout, unknown, string]>([
    [
      'image deployment=api container=main image=r.example.com/shop/api:2',
      { verb: 'image', container: 'main', image: 'r.example.com/shop/api:2' },
      api,
      'image main=r.example.com/shop/api:2',
    ],
    ['image deployment=api image=api@sha256:0af1', { verb: 'image', image: 'api@sha256:0af1' }, api, 'image api@sha256:0af1'],
    ['scale statefulset=db replicas=0', { verb: 'scale', replicas: 0 }, { facets: { workload: 'statefulset/db' } }, 'scale 0'],
    ['scale workload=deployment/api replicas=10000', { verb: 'scale', replicas: 10_000 }, api, 'scale 10000'],
    ['undo deployment=api', { verb: 'undo' }, api, 'undo'],
    ['undo deployment=api to=3', { verb: 'undo', to: '3' }, api, 'undo 3'],
    ['restart daemonset=log-*', { verb: 'restart' }, { facets: { workload: 'daemonset/log-*' } }, 'restart'],
    [
      'pause on=kube namespace=shop service=api',
      { verb: 'pause' },
      { on: 'kube', facets: { namespace: 'shop', service: 'api' } },
      'pause',
    ],
    ['resume name=api', { verb: 'resume' }, { name: 'api' }, 'resume'],
    ['finish stack=shop service=web', { verb: 'finish' }, { facets: { stack: 'shop', service: 'web' } }, 'finish'],
    [
      'status label=app=web all=3 system=1',
      { verb: 'status' },
      { labels: [{ op: 'eq', key: 'app', value: 'web' }], all: 3, system: true },
      'status',
    ],
    ['restart id=1s7', { verb: 'restart' }, { id: '1s7' }, 'restart'],
  ])('rollout %s', (text, rollout, selector, words) => {
    const parsed = { rollout, selector, command: { argv: ['rollout', ...words.split(' ')] } }
    expect(parseCommandLine(`rollout ${text}`)).toEqual({ verb: 'rollout', ...parsed })
    expect(parseCommandLine(text, 'rollout')).toEqual({ verb: 'rollout', ...parsed })
    expect(parseArguments(['rollout', ...text.split(' ')])).toEqual({ verb: 'rollout', ...parsed })
    for (const why of [`why rollout ${text}`, `rollout why ${text}`])
      expect(parseCommandLine(why)).toEqual({ verb: 'why', ...parsed })
    expect(parseCommandLine(`why ${text}`, 'rollout')).toEqual({ verb: 'why', ...parsed })
  })

  it('takes a time limit as commands do, and help as a verb of its own', () => {
    expect(parseCommandLine('rollout restart deployment=api timeout=5m')).toMatchObject({ timeoutMs: 300_000 })
    expect(parseCommandLine('help', 'rollout')).toEqual({ verb: 'help' })
    expect(parseCommandLine('', 'rollout')).toEqual({ verb: 'help' })
  })

  it('the short names of workloads select containers too', () => {
    expect(parseCommandLine('deployment=api cmd=uptime')).toMatchObject({ verb: 'exec', selector: api })
    expect(parseCommandLine('targets deployment=api')).toMatchObject({ selector: api })
  })

  it('every right form parses', () => {
    for (const verb of rolloutVerbs)
      expect(parseCommandLine(rolloutForm(verb))).toMatchObject({ verb: 'rollout', rollout: { verb } })
  })
})

describe('errors', () => {
  it.each<[string, string, number | undefined, string]>([
    ['rollout', 'usage', 7, 'image, restart'],
    ['rollout imgae deployment=api', 'usage', 8, 'image, restart'],
    ['rollout deployment=api', 'usage', 8, 'image, restart'],
    ['rollout image deployment=api', 'usage', 28, 'For example: rollout image'],
    ['rollout image image=repo:2', 'empty_selector', undefined, 'all=N'],
    ['rollout image deployment=api image=', 'usage', 35, 'image='],
    ['rollout image deployment=api image=re*po', 'usage', 35, 'image='],
    ['rollout image deployment=api image="a b"', 'usage', 36, 'image='],
    ['rollout image deployment=api image=main=repo:2', 'usage', 35, 'image='],
    ['rollout image deployment=api image=-x', 'usage', 35, 'image='],
    ['rollout image deployment=api image=repo/../evil:1', 'usage', 35, 'image='],
    ['rollout image deployment=api image=x container=a=b', 'usage', 47, 'container=main'],
    ['rollout scale deployment=api', 'usage', 28, 'replicas=3'],
    ['rollout scale deployment=api replicas=-1', 'usage', 38, 'replicas=3'],
    ['rollout scale deployment=api replicas=1e3', 'usage', 38, 'replicas=3'],
    ['rollout scale deployment=api replicas=10001', 'usage', 38, 'replicas=3'],
    ['rollout undo deployment=api to=', 'usage', 31, 'to=3'],
    ['rollout restart deployment=api replicas=3', 'usage', 31, 'rollout restart'],
    ['rollout restart deployment=api image=x', 'usage', 31, 'rollout restart'],
    ['rollout restart deployment=api any=1', 'usage', 31, 'all=N'],
    ['rollout restart deployment=api cmd=id', 'usage', 31, 'rollout restart'],
    ['rollout restart deployment=api -- id', 'usage', 31, 'rollout restart'],
    ['rollout restart deployment=api deployment=b', 'usage', 31, 'once'],
    ['rollout restart deployment=api workload=deployment/b', 'usage', 31, 'one of them'],
    ['rollout restart deploymant=api', 'usage', 16, 'deployment='],
    ['rollout restart api', 'usage', 16, 'key=value'],
    ['rollout restart deployment=*', 'empty_selector', 27, 'all=N'],
    ['rollout restart deployment=', 'empty_selector', 27, 'leave it out'],
    ['rollout restart workload=deployment/*', 'empty_selector', undefined, 'all=N'],
    ['rollout restart', 'empty_selector', undefined, 'all=N'],
    ['rollout restart on=kube', 'empty_selector', undefined, 'all=N'],
    ['name=a rollout', 'usage', 7, 'comes first'],
  ])('%j is refused as %s at %j', (text, code, position, next) => {
    const failure = refusal(text)
    expect({ code: failure.code, position: failure.position }).toEqual({ code, position })
    expect(failure.next).toContain(next)
  })

  it('points into the text as it was typed after /rollout', () => {
    expect(refusal('restart deployment=api any=1', 'rollout').position).toBe(23)
    expect(refusal('targets', 'rollout')).toMatchObject({ code: 'usage', position: 0 })
  })

  it('10 000 hostile lines either parse or are refused with a code, a place in the text and a next step', () => {
    const parts = [
      ...rolloutVerbs,
      ...'why rollout deployment= workload= image= container= replicas= to= name= any= all= -- = " \' * a/b x:2 $x 7 -1'.split(
        ' ',
      ),
      ' ',
      ' ',
      ' ',
    ]
    const line = fc.array(fc.constantFrom(...parts), { maxLength: 12 }).map((words) => words.join(''))
    fc.assert(
      fc.property(line, fc.constantFrom('exec', 'rollout'), (text, unsaid) => {
        try {
          const parsed = parseCommandLine(`rollout ${text}`, unsaid as 'exec')
          if (parsed.verb !== 'rollout') return
          expect(faultOf(parsed.rollout)).toBeUndefined()
          expect(parsed.command.argv).toEqual(rolloutArgv(parsed.rollout))
          expect(parsed.selector.any).toBeUndefined()
        } catch (error) {
          if (!(error instanceof DroverError)) throw error
          expect(['usage', 'empty_selector']).toContain(error.code)
          expect(error.next).toBeTruthy()
          if (error.position !== undefined) expect(error.position).toBeLessThanOrEqual(text.length + 8)
        }
      }),
      { numRuns: 10_000 },
    )
  })
})

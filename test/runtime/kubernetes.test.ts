/** Kubernetes from each runtime, by both protocols. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { defaultPeople } from '../../src/playground/kubernetes/access.ts'
import { type KubernetesPeer, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { processEngine } from '../peers/engine-process.ts'
import { localProcesses } from '../peers/local-processes.ts'
import { RUNTIMES, type Runtime } from './kubernetes-runtimes.ts'
import type { Asked } from './kubernetes-story.ts'

describe.each(Object.entries(RUNTIMES))('Kubernetes from %s', { timeout: 60_000 }, (runtimeName, start) => {
  let runtime: Runtime
  let peer: KubernetesPeer
  beforeAll(async () => {
    const oncall = { name: 'group:a, b', token: 'none', rules: [{ verbs: ['get', 'create'], resources: ['pods/exec'] }] }
    const people = [...defaultPeople(['shop']), oncall]
    peer = await startKubernetesPeer({ engine: processEngine(), people, pods: [{ namespace: 'shop', name: 'web-1' }] })
    runtime = await start()
  }, 60_000)
  afterAll(async () => {
    await runtime.close()
    await peer.close()
  })
  const tell = (asked: Partial<Asked>, who: Parameters<KubernetesPeer['token']>[0] = 'exec-user') => {
    const settings = { server: peer.url, token: peer.token(who), namespaces: ['shop'] }
    return runtime.tell({ settings, name: 'web-1', argv: ['true'], ...asked })
  }

  test.each([20, 32])('both streams, stdin and the exit code come as they are (1.%i)', async (minor) => {
    peer.minor = minor
    expect(await tell({ argv: ['/bin/sh', '-c', 'cat; echo err >&2; exit 3'], stdin: 'é in\n' })).toEqual({
      native: 'shop/web-1/app',
      out: 'é in\n',
      err: 'err\n',
      end: { type: 'exit', code: 3 },
    })
    expect(peer.seen.execs.at(-1)?.protocol).toBe(minor === 20 ? 'v4.channel.k8s.io' : 'v5.channel.k8s.io')
  })

  test('[gone-is-gone] S42 what runs is ended by another connection, and proved gone', async () => {
    const mark = `${650_000 + Math.floor(Math.random() * 9_999)}`
    const told = await tell({ argv: ['/bin/sh', '-c', `echo go; sleep ${mark} & sleep ${mark}`], kill: true })
    expect([told.killed, told.end]).toEqual([{ result: 'gone' }, { type: 'exit', code: 143 }])
    expect(localProcesses(`sleep ${mark}`)).toEqual([])
  })

  test('[true-ending] S41 a stream that breaks is unknown', async () => {
    peer.faults.dropAfterBytes = 100
    const told = await tell({ argv: ['/bin/sh', '-c', 'yes | head -c 9000; exit 0'] })
    peer.faults.dropAfterBytes = undefined
    expect(told.refused).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
  })

  test('a refused upgrade is told in Kubernetes’ own words', async () => {
    const told = await tell({}, 'create-only-user')
    expect(told.refused).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
    expect(JSON.stringify(told.refused)).toContain('cannot get resource \\"pods/exec\\"')
  })

  test('each group of a person goes out as a header of its own, or the start says that it cannot', async () => {
    const settings = {
      server: peer.url,
      token: peer.token('admin'),
      namespaces: ['shop'],
      impersonateGroup: ['system:masters', 'a, b'],
    }
    const execs = peer.seen.execs.length
    const told = await tell({ settings })
    if (runtimeName === 'workerd') {
      expect(told.refused).toMatchObject({
        code: 'config',
        message: 'A header that comes more than once does not work on Workers.',
      })
      expect(peer.seen.execs).toHaveLength(execs)
    } else {
      expect(told.end).toEqual({ type: 'exit', code: 0 })
      expect(peer.seen.execs.at(-1)).toMatchObject({ user: 'webhook:deploy', groups: ['system:masters', 'a, b'] })
    }
  })
})

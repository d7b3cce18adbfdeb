/** The door for agents on workerd: the object that holds an agent's connection lets in nobody else. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { decodeFrame, encodeFrame, jsonPayload } from '../../src/agent/frame.ts'
import { answerOf, readChallenge } from '../../src/agent/handshake.ts'
import { makeKeyPair, type PrivateKey, readPrivateKey } from '../../src/agent/keys.ts'
import { until } from '../agent/link.ts'
import type { Running } from '../e2e/scenario.ts'
import { startWorker } from '../e2e/wrangler.ts'

describe('agents at workerd', { timeout: 60_000 }, () => {
  let drover: Running
  let key: PrivateKey
  let publicKey: string
  beforeAll(async () => {
    const pair = await makeKeyPair()
    key = await readPrivateKey(pair.privatePem, 'the test')
    publicKey = pair.publicKey
    drover = await startWorker(
      `agents: { lab: { key: '${publicKey}' } }\nbackends: { lab: { kind: docker, through: lab, newContainers: {} } }\nrules: []\n`,
      {},
    )
  }, 90_000)
  afterAll(() => drover.stop(), 30_000)

  async function caller() {
    const url = new URL('/agents/connect?agent=lab', drover.url)
    url.protocol = 'ws:'
    const ws = new WebSocket(url)
    const messages: string[] = []
    ws.on('message', (data: Buffer) => messages.push(data.toString()))
    ws.on('error', () => undefined)
    const ended = new Promise<{ code: number; reason: string }>((resolve) => {
      ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
    })
    await until(() => messages.length > 0)
    const challenge = readChallenge(messages[0] ?? '')
    if (!challenge) throw new Error('no challenge')
    const hello = async (by: PrivateKey, change: { host?: string; time?: number } = {}) =>
      await answerOf(challenge, {
        name: 'lab',
        host: new URL(drover.url).host,
        says: 'a caller',
        key: by,
        time: Date.now(),
        ...change,
      })
    return { ws, messages, ended, hello }
  }
  const state = async () =>
    (await (
      await fetch(`${drover.url}/agents/state?agent=lab`, { headers: { 'x-drover-agent-key': publicKey } })
    ).json()) as object

  it('[default-deny] another key, an old signature, another host and another time are refused', async () => {
    const first = await caller()
    const heard = await first.hello(key)
    first.ws.send(JSON.stringify(heard))
    await until(() => first.messages.length === 2)
    const stranger = await readPrivateKey((await makeKeyPair()).privatePem, 'a stranger')
    for (const answer of [
      (one: Awaited<ReturnType<typeof caller>>) => one.hello(stranger),
      async () => heard,
      (one: Awaited<ReturnType<typeof caller>>) => one.hello(key, { host: 'evil.example.com' }),
      (one: Awaited<ReturnType<typeof caller>>) => one.hello(key, { time: 0 }),
      async () => 'nonsense',
    ]) {
      const one = await caller()
      one.ws.send(JSON.stringify(await answer(one)))
      expect((await one.ended).code).toBe(4003)
    }
    expect(await state()).toMatchObject({ connected: true, says: 'a caller' })
    first.ws.close(1000)
    await until(async () => 'connected' in (await state()) && !((await state()) as { connected: boolean }).connected)
    expect(await state()).toMatchObject({ connected: false, since: expect.any(Number), why: 'it was stopped' })
  })

  it('a frame before the handshake is no way in, and a frame that is none is the end', async () => {
    const before = await caller()
    before.ws.send(encodeFrame('head', 1, jsonPayload({ status: 200 })))
    expect((await before.ended).code).toBe(4003)
    const wrong = [
      new Uint8Array([9]),
      encodeFrame('open', 1, jsonPayload({})),
      encodeFrame('data', 77, new Uint8Array(1)),
      new Uint8Array(100_000),
    ]
    for (const frame of wrong) {
      const one = await caller()
      one.ws.send(JSON.stringify(await one.hello(key)))
      await until(() => one.messages.length === 2)
      one.ws.send(frame)
      expect((await one.ended).code).toBe(4000)
    }
  })

  it('the newest connection takes the place of the one before; a ping is answered', async () => {
    const one = await caller()
    one.ws.send(JSON.stringify(await one.hello(key)))
    await until(() => one.messages.length === 2)
    one.ws.send('ping')
    await until(() => one.messages.at(-1) === 'pong')
    const two = await caller()
    two.ws.send(JSON.stringify(await two.hello(key)))
    expect((await one.ended).code).toBe(4001)
    await until(() => two.messages.length === 2)
    expect(await state()).toMatchObject({ connected: true })
    two.ws.close()
    await two.ended
  })

  it('after a sleep of its object no stream has the number of an earlier one', async () => {
    const agent = await caller()
    const opened: number[] = []
    agent.ws.on('message', (data: Buffer, isBinary) => {
      const frame = isBinary ? decodeFrame(data) : undefined
      if (frame?.type !== 'open') return
      opened.push(frame.id)
      agent.ws.send(encodeFrame('reset', frame.id, jsonPayload({ reason: 'denied', message: 'no' })))
    })
    agent.ws.send(JSON.stringify(await agent.hello(key)))
    await until(() => agent.messages.length === 2)
    // The sweep of each minute asks the engine behind the agent.
    const sweep = async (more: number) => {
      await fetch(`${drover.url}/cdn-cgi/handler/scheduled`)
      await until(() => opened.length >= more)
    }
    await sweep(1)
    // The hub keeps its connection for five seconds, and workerd an object that has nothing to do for ten.
    await new Promise((resolve) => setTimeout(resolve, 25_000))
    await sweep(opened.length + 1)
    expect(opened).toEqual([...new Set(opened)].sort((a, b) => a - b))
    agent.ws.close(1000)
    await agent.ended
  })
})

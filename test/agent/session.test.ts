/** The streams of one link, both ends of it side by side. */

import { describe, expect, it } from 'vitest'
import { MOST_REQUEST_BYTES } from '../../src/agent/frame.ts'
import { createSession, type Stream, StreamReset } from '../../src/agent/session.ts'

/** What one end sends the other takes at once. */
function linked() {
  const accepted: Stream[] = []
  const closed: string[] = []
  const close = (_: number, why: string) => void closed.push(why)
  const gateway = createSession({ send: (message) => agent.receive(message), close })
  const agent = createSession({ send: (message) => gateway.receive(message), close }, { accept: (one) => accepted.push(one) })
  return { gateway, accepted, closed }
}

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  )

/** What JSON makes the most of. */
const long = '\u0001€'.repeat(50_000)

describe('the streams of a link', () => {
  it('[bounded] however long the words are with which a stream ends, they fit into its frame', async () => {
    const { gateway, accepted, closed } = linked()
    const ended = gateway.open('one')
    accepted[0]!.sendHead({ status: 101 })
    accepted[0]!.end({ code: 1006, reason: long, clean: false })
    for await (const _ of ended.incoming);
    expect(ended.last()).toMatchObject({ code: 1006, clean: false, reason: expect.stringMatching(/^\u0001€/) })

    const broken = gateway.open('two')
    accepted[1]!.reset({ reason: 'other', message: long })
    const error = await failureOf(broken.head)
    expect(error).toBeInstanceOf(StreamReset)
    expect((error as StreamReset).reset).toMatchObject({ reason: 'other', message: expect.stringMatching(/^\u0001€/) })
    expect(closed).toEqual([])
  })

  it('[bounded] requests that are too long for a link are refused, and take no stream away from others', () => {
    const { gateway, accepted, closed } = linked()
    for (let n = 0; n < 3; n += 1) expect(() => gateway.open('x'.repeat(MOST_REQUEST_BYTES))).toThrow('longer than a link takes')
    expect([gateway.streams(), accepted.length]).toEqual([0, 0])
    gateway.open('short')
    expect([gateway.streams(), accepted.length, closed]).toEqual([1, 1, []])
  })
})

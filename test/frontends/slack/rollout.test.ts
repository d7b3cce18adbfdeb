/** Rollouts in Slack: typed, shown before they are sent, told truthfully, and taken back by a button. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Ending, Outcome, Plan, Rollout, RunId, RunRequest, Settled, Target, TargetId } from '../../../src/core/model.ts'
import { rolloutArgv, rolloutVerbs } from '../../../src/core/rollout.ts'
import { ACTIONS } from '../../../src/frontends/slack/run-views.ts'
import { type Bench, deliver, ok, requestOf, seen, startBench } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  await bench.close()
})

const image: Rollout = { verb: 'image', container: 'main', image: 'repo/app:2' }
const workload = (name: string, more: Partial<Target> = {}): Target => ({
  id: `kube/shop:${name}` as TargetId,
  backend: 'kube',
  kind: 'kubernetes',
  native: `shop:${name}`,
  name: `deployment/${name}`,
  labels: {},
  facets: { workload: `deployment/${name}`, service: name, namespace: 'shop' },
  ...more,
})
const plan: Plan = {
  facts: [
    { name: 'image main', before: 'repo/app:1', after: 'repo/app:2' },
    { name: 'replicas', before: '3' },
  ],
  change: 'PATCH /apis/apps/v1/namespaces/shop/deployments/api\n{"spec":{"template":{}}}',
  seal: 'f00d',
  undo: { to: '7', says: 'image main repo/app:1' },
}

type Told = {
  readonly target?: Target
  readonly plan?: Plan
  readonly ending?: Ending
  readonly progress?: string
  readonly taken?: boolean
  readonly stderr?: string
}

/** The events of a rollout that went as told. */
function rolled(
  told: readonly Told[],
  {
    rollout = image,
    outcome,
    id = 'raaaaaaaaaaaaaaa',
    ...part
  }: { rollout?: Rollout; outcome?: Outcome; id?: string } & Omit<Partial<RunRequest>, 'id'> = {},
): RunId {
  const run = id as RunId
  const { memory } = bench
  const all = told.map((one) => ({ target: workload('api'), plan, taken: true, ...one }))
  memory.append(run, {
    type: 'accepted',
    request: requestOf({
      id: run,
      rollout,
      command: { argv: rolloutArgv(rollout) },
      selector: { facets: { workload: 'deployment/api' } },
      ...part,
    }),
  })
  memory.append(run, { type: 'resolved', targets: all.map(({ target }) => target) })
  memory.append(run, {
    type: 'decided',
    decision: { effect: 'allow', rule: 'deployers', limits: {} },
    policy: 'p1',
    timeoutMs: 600_000,
  })
  for (const one of all) memory.append(run, { type: 'planned', target: one.target.id, plan: one.plan })
  for (const { target, ending, progress, taken, stderr = '' } of all) {
    memory.append(run, { type: 'started', target: target.id, owner: 'test' as never })
    if (taken) memory.append(run, { type: 'handle', target: target.id, handle: { target: target.id, exec: 'x' } })
    if (progress) memory.append(run, { type: 'progressed', target: target.id, text: progress })
    if (stderr) memory.write(run, target.id, [{ stream: 'stderr', text: stderr }])
    const count = { stdout: 0, stderr: stderr.length, dropped: 0, masked: 0 }
    if (ending) memory.append(run, { type: 'ended', target: target.id, ending, count })
  }
  if (outcome) memory.append(run, { type: 'finished', outcome })
  return run
}

const done = { outcome: { status: 'done' } } as const
async function told(all: readonly Told[], more: Parameters<typeof rolled>[1] = done) {
  const run = rolled(all, more)
  await deliver(bench, run)
  const parent = bench.peer.messages('C0OPS')[0]!
  const thread = bench.peer.thread('C0OPS', parent.ts).filter(({ ts }) => ts !== parent.ts)
  return { run, parent, card: seen(parent), thread: thread.map(seen).join('\n'), replies: thread }
}
const press = async (user: string, action: string, ts = bench.peer.messages('C0OPS')[0]!.ts) => {
  const delivery = await bench.peer.click(user, 'C0OPS', ts, action)
  await bench.settled()
  return delivery
}

describe('typed', () => {
  test('/rollout, a mention and /exec rollout become the same request', async () => {
    const line = 'image deployment=api container=main image=repo/app:2'
    await bench.peer.slash('U0ALEX', 'C0OPS', line, { command: '/rollout' })
    await bench.peer.slash('U0ALEX', 'C0OPS', `rollout ${line}`)
    await bench.peer.mention('U0ALEX', 'C0OPS', `rollout ${line}`)
    const asked = bench.memory.requests().map(({ rollout, command, selector }) => ({ rollout, command, selector }))
    const one = { rollout: image, command: { argv: rolloutArgv(image) }, selector: { facets: { workload: 'deployment/api' } } }
    expect(asked).toEqual([one, one, one])
  })

  test('a mistake is answered with a caret under the place and a rollout that is right; nothing is recorded', async () => {
    await bench.peer.slash('U0ALEX', 'C0OPS', 'image deploymant=api image=x', { command: '/rollout' })
    await bench.peer.slash('U0ALEX', 'C0OPS', 'restart name=a any=1', { command: '/rollout' })
    const [first, second] = bench.peer.ephemerals('U0ALEX').map(seen)
    expect(first).toContain('image deploymant=api image=x\n      ^')
    expect(first).toContain('Did you mean deployment= ?')
    expect(first).toContain('rollout image deployment=api container=main image=')
    expect(second).toContain('any= would leave to chance which workload is changed.')
    expect(bench.memory.submits()).toBe(0)
  })

  test('help shows both commands, each under the name it has here', async () => {
    await bench.peer.slash('U0ALEX', 'C0OPS', 'help', { command: '/rollout' })
    await bench.peer.slash('U0ALEX', 'C0OPS', 'help')
    const [one, other] = bench.peer.ephemerals('U0ALEX').map(seen)
    for (const verb of rolloutVerbs) expect(one).toContain(`/rollout ${verb} `)
    expect(one).toContain('/exec label=web')
    // The same, and first what was asked about.
    expect(one?.split('\n').toSorted()).toEqual(other?.split('\n').toSorted())
    expect(one?.indexOf('/rollout image')).toBeLessThan(one?.indexOf('/exec label') ?? 0)
    expect(other?.indexOf('/exec label')).toBeLessThan(other?.indexOf('/rollout image') ?? 0)
  })

  test('why shows the card to the asker alone, and nothing is recorded', async () => {
    const target = workload('api')
    bench.memory.answers.why = {
      ok: true,
      targets: [target],
      notes: [],
      decision: { effect: 'allow', rule: 'deployers', limits: {} },
      timeoutMs: 600_000,
      plans: { [target.id]: plan },
    }
    await bench.peer.slash('U0ALEX', 'C0OPS', 'why image deployment=api image=repo/app:2', { command: '/rollout' })
    await bench.settled()
    const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
    expect(shown).toContain('It would be rolled out: set the image to repo/app:2')
    expect(shown).toContain('image main  repo/app:1 → repo/app:2')
    expect(shown).toContain('PATCH /apis')
    expect(shown).toContain('Rule: deployers')
    expect(shown).toContain('Nothing was changed.')
    expect(bench.memory.submits()).toBe(0)
  })
})

describe('the card', () => {
  test('S21 says who, what, where, before and after, what is sent and by which rule, before anything is sent', async () => {
    const run = rolled([{ taken: false }])
    await bench.reporter.progress(bench.memory.state(run)!)
    const [parent] = bench.peer.messages('C0OPS')
    const card = seen(parent)
    expect(card).toContain('<@U0ALEX>: set the image of main to repo/app:2')
    expect(card).toContain('deployment/api · namespace shop · kube')
    expect(card).toContain('image main  repo/app:1 → repo/app:2\nreplicas    3')
    expect(card).toContain('What is sent\nPATCH /apis/apps/v1/namespaces/shop/deployments/api\n{"spec":{"template":{}}}')
    expect(card).toContain('workload=deployment/api · 1 workload · run raaaaaaaaaaaaaaa · timeout=600s · rule deployers')
    expect(card).toContain('⏳ Rolling out')
    expect(card).toContain('Stop watching')
    expect(card).not.toContain('Undo')
    expect(parent?.text).toContain('set the image of main to repo/app:2 (deployment/api): ⏳ Rolling out')
  })

  test('progress is in it while it goes on, and the way back as soon as the change was taken', async () => {
    const run = rolled([{ progress: '1 of 3 updated' }])
    await bench.reporter.progress(bench.memory.state(run)!)
    const card = seen(bench.peer.messages('C0OPS')[0])
    expect(card).toContain('deployment/api: 1 of 3 updated')
    expect(card).toContain('Undo')
  })

  test('scaling to nothing is loud', async () => {
    const { card } = await told([{ ending: ok }], { ...done, rollout: { verb: 'scale', replicas: 0 } })
    expect(card).toContain('⚠️ scale to 0: nothing of it runs afterwards')
  })

  test('[bounded] a long change is cut in the message and whole in a dialog and in the file', async () => {
    const change = `PATCH /x\n${Array.from({ length: 900 }, (_, i) => `line ${i} <&>`).join('\n')}`
    const { run, card } = await told([{ ending: { status: 'exited', code: 1 }, plan: { ...plan, change } }])
    expect(card.length).toBeLessThan(4000)
    expect(card).toContain('Show what is sent')
    await press('U0ALEX', ACTIONS.change)
    const [dialog] = bench.peer.views('U0ALEX')
    expect(seen({ blocks: dialog?.view.blocks as unknown[] })).toContain('line 899 <&>')
    await press('U0ALEX', ACTIONS.output)
    expect(new TextDecoder().decode(bench.peer.files[0]?.content)).toContain('line 899 <&>')
    expect(bench.memory.state(run)?.status).toBe('finished')
  })

  test('[bounded] many workloads: some cards, the others by name, within what Slack takes', async () => {
    const many = Array.from({ length: 40 }, (_, i) => ({ target: workload(`api-${i}`), ending: ok }))
    const { card } = await told(many)
    expect(card).toContain('40 workloads')
    expect(card).toContain('and 35 more: deployment/api-5')
    expect(card).toContain('✅ 40 of 40 rolled out')
    expect(card).toContain('Undo deployment/api-3')
    expect(card).not.toContain('Undo deployment/api-4')
  })

  test('S37 nothing in names, facts, changes, progress or reasons can ping, link or fence', async () => {
    const hostile = '<!channel> <@U0SAM> ``` https://evil.example *bold*'
    const { parent, replies } = await told([
      {
        target: workload('api', { name: hostile, facets: { workload: hostile, namespace: hostile } }),
        plan: {
          ...plan,
          facts: [{ name: hostile, before: hostile, after: hostile }],
          change: hostile,
          undo: { to: '7', says: hostile },
        },
        progress: hostile,
        stderr: hostile,
        ending: { status: 'unknown', error: { code: 'stream_broken', message: hostile } },
      },
    ])
    for (const { text, blocks } of [parent, ...replies]) {
      expect(text).not.toMatch(/<[!@#h]/)
      const leaves = JSON.stringify(blocks).match(/"type":"(mrkdwn|link|broadcast|usergroup|user)"[^}]*/g) ?? []
      expect(leaves.filter((leaf) => !leaf.includes('"user_id":"U0ALEX"'))).toEqual([])
    }
  })
})

describe('[true-ending] the end', () => {
  test('done is said in the parent and in the thread, with the way back', async () => {
    const { card, thread } = await told([{ ending: ok, progress: '3 of 3 available' }])
    expect(card).toMatch(/✅ rolled out · [\d.]+ s/)
    expect(card).not.toContain('3 of 3 available')
    expect(thread).toContain('1 of 1: deployment/api\nrolled out')
    expect(thread).not.toContain('(no output)')
    const button = JSON.stringify(bench.peer.messages('C0OPS')[0]?.blocks)
    expect(button).toContain(
      'deployment/api goes back to revision 7 (image main repo/app:1). It is a rollout of its own, with your own rights.',
    )
    expect(card).not.toContain('Do it again')
  })

  test('stuck is no success: the reason and the last lines are in the thread', async () => {
    const { card, thread } = await told([
      { ending: { status: 'exited', code: 1 }, progress: '1 of 3 updated', stderr: 'stuck: pod api-1: ImagePullBackOff\n' },
    ])
    expect(card).toContain('❌ stuck; the change stays')
    expect(card).toContain('deployment/api: 1 of 3 updated')
    expect(thread).toContain('stuck: pod api-1: ImagePullBackOff')
    expect(card).toContain('Do it again')
  })

  test.each<[string, Told, Outcome, string, string]>([
    [
      'a deadline',
      { ending: { status: 'timed_out' } },
      { status: 'done' },
      '❌ not finished after 10 min; the change stays',
      'rollout status workload=deployment/api',
    ],
    [
      'a deadline before it was taken',
      { ending: { status: 'timed_out' }, taken: false },
      { status: 'done' },
      'whether the change was taken is not known',
      'rollout status',
    ],
    [
      'a cancel',
      { ending: { status: 'cancelled' } },
      { status: 'cancelled' },
      '⏹ no longer watched; the change stays',
      'rollout status',
    ],
    [
      'a refusal of the engine',
      { ending: { status: 'failed', error: { code: 'changed', message: 'It moved.' } }, taken: false },
      { status: 'done' },
      '❌ nothing was changed: It moved.',
      'Do it again',
    ],
    [
      'a lost answer',
      { ending: { status: 'unknown', error: { code: 'stream_broken', message: 'It broke.' } }, taken: false },
      { status: 'done' },
      '❌ outcome unknown: It broke.',
      'Undo',
    ],
    [
      'a crash of drover',
      { ending: { status: 'unknown', error: { code: 'interrupted', message: 'drover stopped meanwhile.' } } },
      { status: 'interrupted', failure: { code: 'interrupted', message: 'drover stopped.', next: 'Look first.' } },
      '⚠️ Interrupted: outcome unknown: drover stopped meanwhile.',
      'Look first.',
    ],
  ])('%s is told as what it is', async (_, one, outcome, verdict, next) => {
    const { card } = await told([one], { outcome })
    expect(card).toContain(verdict)
    expect(card).toContain(next)
    expect(card).not.toMatch(/✅|proved gone|still run/)
  })

  test('what was taken and what may not have been are never told together', async () => {
    const late = { ending: { status: 'timed_out' } } as const
    const { thread } = await told([late, { ...late, target: workload('web'), taken: false }])
    expect(thread).toContain('1 of 2: deployment/api\nnot finished after 10 min; the change stays')
    expect(thread).toContain('1 of 2: deployment/web\nno answer after 10 min; whether the change was taken is not known')
  })

  test('where nothing was changed there is nothing to undo', async () => {
    const { card } = await told([{ ending: { status: 'failed', error: { code: 'changed', message: 'x' } }, taken: false }])
    expect(card).not.toContain('Undo')
  })

  test('status shows facts, and needs no message in the thread', async () => {
    const facts = [{ name: 'image main', before: 'repo/app:1' }]
    const { card, replies } = await told([{ ending: ok, taken: false, plan: { ...plan, facts, change: '' } }], {
      ...done,
      rollout: { verb: 'status' },
    })
    expect(card).toContain('look how it stands')
    expect(card).toContain('image main  repo/app:1')
    expect(card).toContain('👀 as it stands now')
    expect(card).not.toMatch(/What is sent|Undo/)
    expect(replies).toEqual([])
  })

  test('a refusal says that nothing was changed', async () => {
    const run = 'raaaaaaaaaaaaaaa' as RunId
    const failure = { code: 'denied', message: 'No rule allows you to roll this out here.' } as const
    bench.memory.append(run, { type: 'accepted', request: requestOf({ rollout: image, command: { argv: rolloutArgv(image) } }) })
    bench.memory.append(run, { type: 'decided', decision: { effect: 'deny', failure }, policy: 'p1' })
    bench.memory.append(run, { type: 'finished', outcome: { status: 'refused', failure } })
    await deliver(bench, run)
    expect(seen(bench.peer.ephemerals('U0ALEX')[0])).toContain('🚫 Nothing was changed')
  })
})

describe('what became of it', () => {
  const settled = (more: Partial<Settled> = {}): Settled => ({
    type: 'settled',
    target: workload('api').id,
    verb: 'undo',
    by: { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' },
    run: 'rbbbbbbbbbbbbbbb' as RunId,
    ...more,
  })
  /** The run is told after its end, as its owner would. */
  async function tell(run: RunId, event: Settled) {
    bench.memory.append(run, { type: 'delivered' }, event)
    await bench.reporter.progress(bench.memory.state(run)!)
    return bench.peer.messages('C0OPS').find((one) => seen(one).includes(run))!
  }

  test('undone: the card says by whom and links to that run’s message, and offers Undo no more', async () => {
    const { run } = await told([{ ending: ok }])
    const other = rolled([{ ending: ok }], { ...done, id: 'rbbbbbbbbbbbbbbb', rollout: { verb: 'undo', to: '7' } })
    await deliver(bench, other)
    const card = await tell(run, settled({ ref: bench.memory.state(other)!.posted.parent! }))
    expect(seen(card)).toContain('✅ rolled out')
    expect(seen(card)).toContain('↩️ undone by <@U0SAM>, run rbbbbbbbbbbbbbbb')
    expect(seen(card)).not.toMatch(/Undo$/m)
    expect(JSON.stringify(card.blocks)).toMatch(
      /"type":"link","url":"http[^"]*\/archives\/C0OPS\/p\d+","text":"run rbbbbbbbbbbbbbbb"/,
    )
  })

  test('what was not watched to its end, and then undone, is not said to go on', async () => {
    const { run, parent } = await told([{ ending: { status: 'timed_out' }, progress: '1 of 3 updated' }])
    expect(seen(parent)).toMatch(/^❌ not finished after [^\n]*\n<@U0ALEX>: set the image/)
    expect(seen(parent)).toContain('What was sent stays and goes on by itself.')
    const card = await tell(run, settled())
    expect(seen(card)).toMatch(/^❌ not finished after [^\n]*\n↩️ undone by <@U0SAM>/)
    expect(seen(card)).not.toContain('goes on by itself')
    expect(seen(card)).not.toContain('1 of 3 updated')
  })

  test('without a message to link to, and by a terminal, it says the run; of several workloads which', async () => {
    const { run } = await told([{ ending: ok }, { target: workload('web'), ending: ok }])
    const by = { kind: 'cli', user: '<!channel>' } as const
    const card = await tell(run, settled({ by, target: workload('web').id, ref: 'C0NONE:1.2', verb: 'finish' }))
    expect(seen(card)).toContain('🏁 deployment/web: finished by ')
    expect(seen(card)).toContain(', run rbbbbbbbbbbbbbbb')
    expect(JSON.stringify(card.blocks)).not.toContain('"link"')
    expect(seen(card)).toContain('Undo deployment/api')
    expect(seen(card)).not.toContain('Undo deployment/web')
  })

  test('[bounded] however many updates there were, the one that tells it is not left out', async () => {
    const { run } = await told([{ ending: ok }])
    const busy = rolled([{ progress: '1' }], { id: 'rccccccccccccccc' })
    for (let n = 0; n < 20; n++) {
      bench.clock.offsetMs += 1_100
      bench.memory.append(busy, { type: 'progressed', target: workload('api').id, text: `step ${n}` })
      await bench.reporter.progress(bench.memory.state(busy)!)
    }
    expect(seen(await tell(run, settled()))).toContain('undone by')
  })

  test('an old button is answered with who undid it, and changes nothing', async () => {
    const { run, parent } = await told([{ ending: ok, plan: { ...plan, finishes: true } }])
    bench.memory.append(run, settled())
    const before = bench.memory.submits()
    for (const action of [`${ACTIONS.undo}:0`, `${ACTIONS.finish}:0`]) await press('U0ALEX', action, parent.ts)
    expect(bench.memory.submits()).toBe(before)
    const said = 'deployment/api was undone by <@U0SAM>, run rbbbbbbbbbbbbbbb, already. Nothing was changed.\n'
    expect(bench.peer.ephemerals('U0ALEX').map(seen)).toEqual([said, said])
  })

  test('S21 a button names the very workload it was drawn for; Do it again of such a run does, too', async () => {
    const target = workload('api', { uid: 'u-1' })
    const { run } = await told([{ target, ending: ok }])
    await press('U0SAM', `${ACTIONS.undo}:0`)
    expect(bench.memory.requests()[1]).toMatchObject({ after: run, uid: 'u-1' })
    const failed = rolled([{ target, ending: { status: 'exited', code: 1 } }], {
      ...done,
      id: 'rbbbbbbbbbbbbbbb',
      rollout: { verb: 'undo', to: '7' },
      after: run,
      uid: 'u-1',
    })
    await deliver(bench, failed)
    await press('U0SAM', ACTIONS.again, bench.peer.messages('C0OPS').find((one) => seen(one).includes(failed))!.ts)
    expect(bench.memory.requests().at(-1)).toMatchObject({ again: failed, after: run, uid: 'u-1' })
  })
})

describe('buttons', () => {
  test('Undo is a rollout of the presser, on that workload, to the revision that the plan said', async () => {
    const { run, parent } = await told([
      { ending: ok },
      { target: workload('web', { system: true }), ending: ok, plan: { ...plan, undo: { to: '4', says: 'x' } } },
    ])
    const delivery = await press('U0SAM', `${ACTIONS.undo}:1`)
    expect(bench.memory.requests()[1]).toMatchObject({
      actor: { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' },
      trigger: { kind: 'button', delivery: `slack:${delivery.triggerId}` },
      rollout: { verb: 'undo', to: '4' },
      command: { argv: ['rollout', 'undo', '4'] },
      selector: { on: 'kube', id: 'shop:web', system: true },
      place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS', threadTs: parent.ts },
      after: run,
    })
    await press('U0SAM', `${ACTIONS.undo}:1`)
    expect(bench.memory.requests()).toHaveLength(2)
    expect(bench.peer.ephemerals('U0SAM').map(seen).join()).toContain('it was not done twice')
  })

  test('[no-secret-shown] a button carries an opaque id and no more', async () => {
    const { parent } = await told([{ ending: ok }])
    const values = [...JSON.stringify(parent.blocks).matchAll(/"value":"([^"]*)"/g)].map(([, value]) => value)
    expect(values.length).toBeGreaterThan(1)
    for (const value of values) expect(value).toMatch(/^raaaaaaaaaaaaaaa(\.0)?$/)
  })

  test('Finish is there where the engine keeps what was before, and only after a success', async () => {
    const finishes = { ...plan, finishes: true as const }
    await told([{ ending: ok, plan: finishes }])
    await press('U0ALEX', `${ACTIONS.finish}:0`)
    expect(bench.memory.requests()[1]).toMatchObject({
      rollout: { verb: 'finish' },
      command: { argv: ['rollout', 'finish'] },
      after: 'raaaaaaaaaaaaaaa',
    })
    const stuck = rolled([{ ending: { status: 'exited', code: 1 }, plan: finishes }], { ...done, id: 'rbbbbbbbbbbbbbbb' })
    await deliver(bench, stuck)
    const message = bench.peer.messages('C0OPS').find((one) => seen(one).includes(stuck))
    expect(seen(message)).not.toContain('Finish')
  })

  test('an id that was made up, of a run or of a workload, changes nothing', async () => {
    await told([{ ending: ok }])
    bench.memory.append('rbbbbbbbbbbbbbbb' as RunId, {
      type: 'accepted',
      request: requestOf({ id: 'rbbbbbbbbbbbbbbb' as RunId }),
    })
    const { undo: _, ...bare } = plan
    rolled([{ ending: ok, plan: bare }], { ...done, id: 'rccccccccccccccc' })
    const before = bench.memory.requests().length
    const first = await press('U0SAM', `${ACTIONS.undo}:0`)
    const submitted = bench.memory.requests().length
    expect(submitted).toBe(before + 1)
    const { payload } = Object.fromEntries(new URLSearchParams(first.rawBody))
    const values = [
      'raaaaaaaaaaaaaaa.7',
      'rbbbbbbbbbbbbbbb.0',
      'rccccccccccccccc.0',
      'raaaaaaaaaaaaaaa.x',
      'x.0',
      'raaaaaaaaaaaaaab.0',
    ]
    for (const value of values) {
      const forged = {
        ...JSON.parse(payload!),
        trigger_id: `forged-${value}`,
        actions: [{ ...JSON.parse(payload!).actions[0], value }],
      }
      const body = new URLSearchParams({ payload: JSON.stringify(forged) }).toString()
      await bench.peer.send({ body, headers: { 'content-type': 'application/x-www-form-urlencoded' } })
      await bench.settled()
    }
    expect(bench.memory.requests()).toHaveLength(submitted)
    expect(bench.peer.ephemerals('U0SAM').length).toBeGreaterThan(0)
  })

  test('Stop watching cancels, and says that what was sent stays', async () => {
    const run = rolled([{ progress: 'x' }])
    await bench.reporter.progress(bench.memory.state(run)!)
    await press('U0ALEX', ACTIONS.cancel)
    expect(bench.memory.asked.some(({ call }) => call === 'cancel')).toBe(true)
    expect(bench.peer.ephemerals('U0ALEX').map(seen)).toEqual(['It is no longer watched. What was sent stays.\n'])
  })

  test('Do it again repeats the rollout, not its words as a command', async () => {
    await told([{ ending: { status: 'exited', code: 1 } }])
    expect(JSON.stringify(bench.peer.messages('C0OPS')[0]?.blocks)).toContain(
      'You ask, with your own rights: rollout image workload=deployment/api container=main image=repo/app:2',
    )
    await press('U0SAM', ACTIONS.again)
    expect(bench.memory.requests()[1]).toMatchObject({
      rollout: image,
      command: { argv: rolloutArgv(image) },
      again: 'raaaaaaaaaaaaaaa',
    })
  })
})

/** One target to ten thousand: drover against the bare protocol with the same parallelism, in processes of their own. */

import { here } from './places.ts'
import { measured, onNode, startServer } from './processes.ts'
import { absolute, against, type Bench, interleaved, median, type Row } from './rows.ts'
import type { Figures, SubjectOptions } from './subject.ts'

const parallel = 16
const subject = (options: SubjectOptions) => measured<Figures>(here('subject.ts'), options)
/** Without it Rancher 1.x tells neither exit code nor end. */
const withWrapper = 'the floor with the wrapper'
const wall = ({ ms }: Figures): number => median(ms)

export const exec: Bench = {
  name: 'exec',
  async run({ quick, say }) {
    say('one exec')
    const peer = await startServer(onNode(here('servers/rancher.ts')), {})
    const rows: Row[] = []
    for (const [what, command, times] of [
      ['an instant command', ['bench', 'ok'], 25],
      ['a command of 100 ms', ['bench', 'wait', '100'], 10],
    ] as const) {
      const common = { url: peer.url, count: 1, parallel: 1, times: quick ? 10 : times, command }
      const figures = await interleaved(
        quick ? 1 : 3,
        {
          bare: () => subject({ who: 'bare', ...common }),
          drover: () => subject({ who: 'drover', ...common }),
          memory: () => subject({ who: 'drover', ...common, ledger: ':memory:' }),
        },
        wall,
      )
      const ms = (name: string) => median((figures[name] ?? []).flatMap((one) => one.ms))
      const baseline = { name: 'list, execute, websocket, wait', value: ms('bare') }
      const note = 'accepted to delivered: policy, ledger on disk, masking, answer'
      rows.push(
        against({ name: `one exec, ${what}`, value: ms('drover'), unit: 'ms', note }, baseline, { atMost: 1.15 }),
        against({ name: `one exec, ${what}, ledger in memory`, value: ms('memory'), unit: 'ms' }, baseline),
      )
    }
    await peer.stop()
    return rows
  },
}

export const targets: Bench = {
  name: 'targets',
  async run({ quick, say }) {
    const peer = await startServer(onNode(here('servers/rancher.ts')), {})
    const rows: Row[] = []
    const grown = new Map<number, number>()
    for (const count of quick ? [1, 10, 100, 1000] : [1, 10, 100, 1000, 10_000]) {
      say(`${count} targets`)
      const common = { url: peer.url, count, times: count >= 1000 ? 1 : 3, command: ['bench', 'ok'] as const }
      const rounds = quick || count === 10_000 ? 1 : 3
      const figures = await interleaved(
        rounds,
        {
          floor: () => subject({ who: 'bare', parallel, ...common }),
          drover: () => subject({ who: 'drover', parallel, ...common }),
          ...(count === 1000 ? { wrapped: () => subject({ who: 'wrapped', parallel, ...common }) } : {}),
          ...(count > 1 && count <= 100 ? { series: () => subject({ who: 'bare', parallel: 1, ...common }) } : {}),
        },
        wall,
      )
      const ms = (name: string) => median((figures[name] ?? []).flatMap((one) => one.ms))
      const cpu = (name: string) => median((figures[name] ?? []).map((one) => one.cpuMs / one.ms.length))
      const name = `${count.toLocaleString('en').replaceAll(',', ' ')} target${count === 1 ? '' : 's'}`
      const floor = `the protocol's floor, ${parallel} at a time`
      const aim = count === 1000 ? ({ atMost: 1.3 } as const) : undefined
      rows.push(against({ name: `${name}, wall`, value: ms('drover'), unit: 'ms' }, { name: floor, value: ms('floor') }, aim))
      rows.push(against({ name: `${name}, CPU`, value: cpu('drover'), unit: 'ms' }, { name: floor, value: cpu('floor') }))
      if (figures.wrapped)
        rows.push(
          against({ name: `${name}, wall`, value: ms('drover'), unit: 'ms' }, { name: withWrapper, value: ms('wrapped') }),
          against({ name: `${name}, CPU`, value: cpu('drover'), unit: 'ms' }, { name: withWrapper, value: cpu('wrapped') }),
        )
      if (figures.series)
        rows.push(
          against(
            { name: `${name}, wall`, value: ms('drover'), unit: 'ms' },
            { name: 'bare, one after the other', value: ms('series') },
          ),
        )
      const peak = median((figures.drover ?? []).map((one) => one.peakBytes))
      const floorPeak = median((figures.floor ?? []).map((one) => one.peakBytes))
      grown.set(count, peak)
      rows.push(
        against(
          { name: `${name}, peak memory`, value: peak / 1024 ** 2, unit: 'MiB' },
          { name: floor, value: floorPeak / 1024 ** 2 },
        ),
      )
    }
    rows.push(...(await waiting(peer.url)))
    const [few, many] = quick ? [100, 1000] : [1000, 10_000]
    const each = ((grown.get(many) ?? 0) - (grown.get(few) ?? 0)) / (many - few) / 1024
    rows.push(absolute({ name: `memory for each more target, ${few} to ${many}`, value: each, unit: 'KiB' }, { atMost: 20 }))
    await peer.stop()
    return rows
  },
}

/** Commands that take their time are what people run: there the floor is the commands themselves, and one round says what three say. */
async function waiting(url: string): Promise<readonly Row[]> {
  const common = { url, count: 1000, times: 1, command: ['bench', 'wait', '100'] as const, parallel }
  const figures = await interleaved(1, {
    floor: () => subject({ who: 'bare', ...common }),
    drover: () => subject({ who: 'drover', ...common }),
  })
  const ms = (name: string) => median((figures[name] ?? []).flatMap((one) => one.ms))
  return [
    against(
      { name: '1 000 targets of 100 ms each, wall', value: ms('drover'), unit: 'ms' },
      { name: `the protocol's floor, ${parallel} at a time`, value: ms('floor') },
      { atMost: 1.3 },
    ),
  ]
}

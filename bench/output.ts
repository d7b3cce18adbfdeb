/** Much output: through the whole of drover against a websocket that only counts, and the pure rooms by themselves. */

import { type Finished, fold } from '../src/core/fold.ts'
import type { Target, TargetId } from '../src/core/model.ts'
import { createCollector } from '../src/core/output.ts'
import { createRedactor } from '../src/core/redact.ts'
import { here } from './places.ts'
import { measured, onNode, startServer } from './processes.ts'
import { absolute, against, type Bench, interleaved, median, type Row } from './rows.ts'
import type { Figures, SubjectOptions } from './subject.ts'

const subject = (options: SubjectOptions) => measured<Figures>(here('subject.ts'), options)

export const output: Bench = {
  name: 'output',
  async run({ quick, say }) {
    const peer = await startServer(onNode(here('servers/rancher.ts')), {})
    const rows: Row[] = []
    const megabytes = quick ? 30 : 100
    for (const [name, count, each] of [
      [`${megabytes} MB in one target`, 1, megabytes],
      ['1 MB in each of 100 targets', 100, 1],
    ] as const) {
      say(name)
      const common = {
        url: peer.url,
        count,
        parallel: 16,
        times: 1,
        command: ['bench', 'bytes', String(each * 1_000_000)] as const,
      }
      const figures = await interleaved(
        quick ? 1 : 3,
        {
          sink: () => subject({ who: 'bare', ...common }),
          drover: () => subject({ who: 'drover', ...common }),
        },
        ({ ms }) => median(ms),
      )
      const total = count * each
      const rate = (who: string) => median((figures[who] ?? []).map((one) => (total * 1000) / (one.ms[0] ?? 0)))
      const grown = (who: string) => median((figures[who] ?? []).map((one) => one.grownBytes / 1e6))
      rows.push(
        against({ name, value: rate('drover'), unit: 'MB/s' }, { name: 'a bare ws sink', value: rate('sink') }, { atLeast: 0.6 }),
      )
      rows.push(
        absolute(
          {
            name: `${name}, growth`,
            value: grown('drover'),
            unit: 'MB',
          },
          { atMost: 64 },
        ),
        { name: `${name}, growth of the bare ws sink`, value: grown('sink'), unit: 'MB' },
      )
    }
    await peer.stop()
    say('fold, redact')
    rows.push(...pure(quick ? 20 : 60))
    return rows
  },
}

const line = (i: number) => `2026-01-01T00:00:00Z level=info msg="GET /orders/${i * 7919} 200" took=${i % 97}ms user=${i}\n`

function pure(megabytes: number): Row[] {
  const text = Array.from({ length: 12_000 }, (_, i) => line(i)).join('')
  const bytes = new TextEncoder().encode(text)
  const redactor = createRedactor(['a-key-of-the-bench-0123456789', 'xoxb-of-the-bench-0123456789'])
  const rounds = Math.ceil((megabytes * 1e6) / bytes.length)
  const rate = (work: (piece: Uint8Array) => void): number => {
    const speeds = Array.from({ length: 5 }, () => {
      const begin = performance.now()
      for (let round = 0; round < rounds / 5; round++)
        for (let at = 0; at < bytes.length; at += 4096) work(bytes.subarray(at, at + 4096))
      return (Math.ceil(rounds / 5) * bytes.length) / 1000 / (performance.now() - begin)
    })
    return median(speeds)
  }
  const decoder = new TextDecoder()
  const plain = rate((piece) => void decoder.decode(piece))
  const masking = redactor.stream()
  const masked = rate((piece) => void masking.write(decoder.decode(piece)))
  const collector = createCollector({ redactor })
  const collected = rate((piece) => {
    collector.write('stdout', piece)
    if (collector.waiting > 65_536) collector.take()
  })
  const outputs = Array.from({ length: 1000 }, (_, n): Finished => {
    const id = `bench/1i${n}` as TargetId
    const target: Target = {
      id,
      backend: 'bench',
      kind: 'rancher1',
      native: `1i${n}`,
      name: `bench-${n}`,
      labels: {},
      facets: {},
    }
    const own = Array.from({ length: 50 }, (_, i) => line(n * 31 + i)).join('')
    return {
      execution: { target, status: 'exited', ending: { status: 'exited', code: n % 3 } },
      chunks: [{ stream: 'stdout', text: own }],
    }
  })
  const folding = Array.from({ length: 5 }, () => {
    const begin = performance.now()
    fold(outputs)
    return performance.now() - begin
  })
  return [
    absolute({ name: 'redact a stream in pieces of 4 KiB', value: masked, unit: 'MB/s' }, { atLeast: 30 }),
    against(
      { name: 'redact a stream in pieces of 4 KiB', value: masked, unit: 'MB/s' },
      { name: 'decoding alone', value: plain },
    ),
    absolute({ name: 'decode, control codes, mask, cap', value: collected, unit: 'MB/s' }),
    absolute({ name: 'fold 1 000 irregular outputs', value: median(folding) / 1000, unit: 's' }, { atMost: 1 }),
  ]
}

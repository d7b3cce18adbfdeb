/** What others rely on, word for word: scripts read exit codes, stored runs hold events, people remember keys. Changing one breaks them. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseCommandLine } from '../src/core/command-line.ts'
import { defaultMaxBytes } from '../src/core/output.ts'
import { rights } from '../src/core/rule.ts'
import { runIdFor } from '../src/core/run-id.ts'
import { facetNames } from '../src/core/selector.ts'
import { runOf } from '../src/frontends/slack/run-name.ts'

const source = (path: string) => readFileSync(join(import.meta.dirname, '..', path), 'utf8')
const between = (text: string, from: string, to: string) => text.slice(text.indexOf(from), text.indexOf(to, text.indexOf(from)))
const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map((match) => match[1])

describe('pinned', () => {
  it('error codes', () => {
    const codes = all(
      between(source('src/core/errors.ts'), 'export type ErrorCode', '/** What a person'),
      /^ {2}\| '([a-z_]+)'/gm,
    )
    expect(codes).toEqual([
      'usage',
      'mangled_text',
      'empty_selector',
      'no_targets',
      'too_many_targets',
      'too_many_runs',
      'ambiguous',
      'count_mismatch',
      'denied',
      'identity',
      'facts_unavailable',
      'not_found',
      'backend_unauthorized',
      'backend_forbidden',
      'backend_not_found',
      'backend_unavailable',
      'backend_protocol',
      'not_running',
      'command_not_found',
      'changed',
      'unsupported',
      'stream_broken',
      'exit_code_unknown',
      'timeout',
      'interrupted',
      'not_started',
      'config',
      'ledger_unavailable',
      'reply_failed',
      'internal',
    ])
  })

  it('types of the events that stored runs are made of', () => {
    const types = all(
      between(source('src/core/model.ts'), 'export type RunEvent', 'export type StoredEvent'),
      /readonly type: '([a-z-]+)'/g,
    )
    expect(types).toEqual([
      'accepted',
      'resolved',
      'decided',
      'started',
      'planned',
      'progressed',
      'handle',
      'output',
      'ended',
      'cancel-asked',
      'killed',
      'settled',
      'finished',
      'posted',
      'delivered',
      'shared',
    ])
  })

  it('how an execution and a run end', () => {
    const model = source('src/core/model.ts')
    const quoted = (text: string) => all(text, /'([a-z_]+)'/g)
    expect(quoted(between(model, 'export type Ending', 'export type OutputChunk'))).toEqual([
      'exited',
      'timed_out',
      'cancelled',
      'failed',
      'unknown',
    ])
    expect(quoted(between(model, 'export type Outcome', 'export type RunEvent'))).toEqual([
      'done',
      'refused',
      'cancelled',
      'interrupted',
    ])
  })

  it('operators of the label grammar', () => {
    const ops = between(source('src/core/model.ts'), 'export type LabelTerm', '/** Fields of a target')
    expect(all(ops, /'([a-z]+)'/g)).toEqual(['exists', 'absent', 'eq', 'ne', 'in', 'word'])
    const parsed = parseCommandLine('targets label="w,k=v,k!=v,k in (a,b),!k"')
    expect(parsed).toEqual({
      verb: 'targets',
      selector: {
        labels: [
          { op: 'word', word: 'w' },
          { op: 'eq', key: 'k', value: 'v' },
          { op: 'ne', key: 'k', value: 'v' },
          { op: 'in', key: 'k', values: ['a', 'b'] },
          { op: 'absent', key: 'k' },
        ],
      },
    })
  })

  it('exit codes for a terminal', () => {
    const codes = all(between(source('src/core/run-state.ts'), 'function codeOf', '\n}\n'), /return (\d+|ending\.code)/g)
    expect(codes).toEqual(['ending.code', '124', '130', '125'])
  })

  it('facets, rights and the cap of one output', () => {
    expect(facetNames).toEqual(['stack', 'service', 'task', 'namespace', 'workload', 'pod', 'container', 'image', 'host'])
    expect(rights).toEqual(['shell', 'env', 'all', 'system', 'privileged', 'user'])
    expect(defaultMaxBytes).toBe(2_097_152)
  })

  it('the id of a run for a delivery, so that a retry after an upgrade is the same run', async () => {
    expect(await runIdFor('pinned')).toBe('rxe6ckpynzy6jvb2')
    expect(runOf('pinned')).toBe('rxe6ckpynzy6jvb2')
  })
})

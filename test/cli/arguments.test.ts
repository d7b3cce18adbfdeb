/** What is typed after `drover`: in which order it may stand, and what a slip is told. */

import { describe, expect, it } from 'vitest'
import { readArguments } from '../../src/arguments.ts'
import { DroverError } from '../../src/core/errors.ts'

function refused(...args: readonly string[]) {
  try {
    readArguments(args)
  } catch (error) {
    if (error instanceof DroverError) return `${error.message} ${error.next}`
    throw error
  }
  return 'it was taken'
}

describe('the arguments of drover', () => {
  it.each([
    [
      ['--config', 'x', 'check'],
      ['check', '--config', 'x'],
    ],
    [
      ['--config=x', '--json', 'check'],
      ['check', '--config=x', '--json'],
    ],
    [
      ['--debug', 'exec', 'label=web', '--', 'ls', '--json'],
      ['exec', '--debug', 'label=web', '--', 'ls', '--json'],
    ],
    [
      ['--config', 'exec', 'runs', 'r1'],
      ['runs', '--config', 'exec', 'r1'],
    ],
    [
      ['--config', 'a.yaml', 'agent', '--check'],
      ['agent', '--config', 'a.yaml', '--check'],
    ],
    [['--config', 'x', '--version'], ['--version']],
    [['--json', '--help'], ['--help']],
  ])('%j are %j', (typed, usual) => {
    expect(readArguments(typed)).toEqual(readArguments(usual))
  })

  it.each([
    [
      ['chek'],
      'There is no command chek. Commands: exec, rollout, targets, why, check, runs, verify, trust, serve, agent, playground. See drover --help.',
    ],
    [['--foo', 'check'], 'There is no option --foo. Commands: exec,'],
    [['--config', 'x', '--foo', 'check'], 'There is no option --foo. Commands: exec,'],
    [['--config', 'x'], 'What to do is not said. Commands: exec,'],
    [['--config'], 'What to do is not said. Commands: exec,'],
    [['check', '--config'], '--config needs a value.'],
    [['verify', 'drover.db'], 'verify takes no words. Name the file with --ledger drover.db'],
    [['check', 'drover.yaml'], 'check takes no words. Name the file with --config drover.yaml'],
    [['runs', 'r1', 'r2'], 'runs takes one run at a time.'],
  ])('%j are refused in words', (typed, words) => {
    expect(refused(...typed)).toContain(words)
  })
})

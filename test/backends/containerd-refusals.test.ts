/** What containerd and its runtime say no with, and what it means: it did not run, or it may have. */

import { expect, test } from 'vitest'
import { EngineError } from '../../src/backends/containerd/engine.ts'
import { lost, notCreated, notMade, notStarted, refusal } from '../../src/backends/containerd/errors.ts'
import type { BackendError } from '../../src/core/errors.ts'

const started = (message: string, argv: readonly string[] = ['x']) =>
  notStarted(new EngineError('UNKNOWN', message), { argv, dir: '/srv' }, 'web')

const runc = 'OCI runtime exec failed: exec failed: unable to start container process: '

test.each([
  [`${runc}exec: "x": executable file not found in $PATH: unknown`, 'command_not_found', 'There is no x in the container.'],
  [`${runc}exec: "/x": stat /x: no such file or directory: unknown`, 'command_not_found', 'There is no x in the container.'],
  [
    `${runc}exec: "/x": permission denied: unknown`,
    'command_not_found',
    'x is in the container, but cannot be run there: permission denied.',
  ],
  [
    `${runc}chdir to cwd ("/srv") set in config.json failed: no such file or directory: unknown`,
    'command_not_found',
    'The directory /srv is not there',
  ],
  [
    `${runc}exec: "cannot exec in a paused state chdir to cwd": executable file not found in $PATH`,
    'command_not_found',
    'There is no x',
  ],
  [
    'OCI runtime exec failed: executable file `x` not found in $PATH: No such file or directory: unknown',
    'command_not_found',
    'There is no x',
  ],
  [`${runc}something new: unknown`, 'backend_unavailable', 'something new'],
])('%s: it did not run', (message, code, words) => {
  const error = started(message)
  expect(error).toMatchObject({ code, ran: 'no' })
  expect((error as BackendError).message).toContain(words)
})

test.each([
  ['exec: "x": executable file not found in $PATH: unknown', 'command_not_found', 'There is no x in the container.'],
  ['exec: "/x": permission denied: unknown', 'command_not_found', 'permission denied'],
  ['error during container init: mkdir /srv: not a directory: unknown', 'command_not_found', 'The directory /srv'],
  [
    'error mounting "/nowhere" to rootfs at "/src": stat /nowhere: no such file or directory: unknown',
    'backend_unavailable',
    '/nowhere',
  ],
  ['container init was OOM-killed (memory limit too low?): unknown', 'backend_unavailable', 'OOM-killed'],
])('a new container whose making ends with %s has not run', (message, code, words) => {
  const said = `failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ${message}`
  const error = notCreated(new EngineError('UNKNOWN', said), { argv: ['x'], dir: '/srv' })
  expect(error).toMatchObject({ code, ran: 'no' })
  expect((error as BackendError).message).toContain(words)
  // Whatever kept it from being made: its first process was never told to begin.
  for (const lost of ['UNAVAILABLE', 'DEADLINE_EXCEEDED'] as const)
    expect(notCreated(new EngineError(lost, 'Connection dropped'), { argv: ['x'] })).toMatchObject({ ran: 'no' })
  const bug = new TypeError('a bug')
  expect(notCreated(bug, { argv: ['x'] })).toBe(bug)
})

test.each([
  'ttrpc: closed: unknown',
  'OCI runtime exec failed: unable to retrieve OCI runtime error (open log.json): runc did not terminate successfully: exit status 137',
  'the words OCI runtime exec failed in the middle',
])('[true-ending] S41 "%s" proves nothing: it may have run', (message) => {
  expect(started(message)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
})

test('[true-ending] S41 a start that is not answered may have run, and so may what is no longer told of', () => {
  const late = new EngineError('DEADLINE_EXCEEDED', 'Deadline exceeded')
  expect(notStarted(late, { argv: ['x'] }, 'web')).toMatchObject({ code: 'timeout', ran: 'maybe' })
  expect(notStarted(new EngineError('UNAVAILABLE', 'Connection dropped'), { argv: ['x'] }, 'web')).toMatchObject({ ran: 'maybe' })
  expect(lost(new EngineError('UNAVAILABLE', 'Connection dropped\n\x1b[0m'))).toMatchObject({
    code: 'stream_broken',
    ran: 'maybe',
  })
  const bug = new TypeError('a bug')
  expect([lost(bug), notStarted(bug, { argv: ['x'] }, 'web'), refusal(bug, { address: '/s', about: 'x' })]).toEqual([
    bug,
    bug,
    bug,
  ])
})

test.each([
  ['UNAVAILABLE', 'No connection established. Last error: connect ENOENT /s', 'backend_unavailable', 'There is no socket at /s.'],
  ['UNAVAILABLE', 'No connection established. Last error: connect EACCES /s', 'backend_forbidden', 'may not open'],
  ['UNAVAILABLE', 'Connection dropped', 'backend_unavailable', 'Connection dropped'],
  ['NOT_FOUND', 'container "x" in namespace "y": not found', 'backend_not_found', 'does not know it'],
  ['DEADLINE_EXCEEDED', '', 'timeout', 'in time'],
  ['UNIMPLEMENTED', '', 'backend_protocol', 'not containerd'],
  ['INTERNAL', 'odd', 'backend_protocol', 'INTERNAL: odd'],
] as const)('%s "%s" is told as %s', (code, message, told, words) => {
  const error = refusal(new EngineError(code, message), { address: '/s', about: 'it' })
  expect(error).toMatchObject({ code: told, ran: 'no' })
  expect((error as BackendError).message).toContain(words)
})

test.each([
  ['cannot exec in a paused state: unknown', 'is paused'],
  ['cannot exec in a stopped state: unknown', 'is not running'],
])('%s', (message, words) => {
  const error = notMade(new EngineError('UNKNOWN', message), 'web', '/s')
  expect(error).toMatchObject({ code: 'not_running', ran: 'no' })
  expect((error as BackendError).message).toContain(words)
})

/** The promises of drover as data, and the safety lessons it answers to: each has a test that says so in its name. */

export const promises = {
  'default-deny': 'Nothing runs that no rule allows; an unreadable rule or an unreachable group denies.',
  'exact-argv': 'Policy judges, the approver sees, the ledger stores and the backend receives the same array of arguments.',
  'true-ending':
    'An execution ends once, as exited(code), timed_out, cancelled, failed or unknown; a broken stream is never a success.',
  'gone-is-gone':
    'After a timeout or a cancel the process in the container is gone, or the answer says "still running, pid N" with a kill button.',
  'no-empty-selector': 'An empty, blank or unresolved selector runs nowhere, whatever the trigger; "all" is a right of its own.',
  once: 'One delivery starts one run: across retries, restarts and replicas. A command is never re-run by drover itself.',
  'recorded-first': 'The decision is in the ledger before the first byte leaves; if it cannot be written, nothing runs.',
  'nothing-lost':
    'After kill -9 at any moment every accepted run is either finished and delivered, or reported as interrupted in its thread.',
  'no-secret-shown': 'No credential or masked value in a thread, file, log, error, ledger export, button payload or URL.',
  bounded: 'Every wait has a deadline, every buffer a byte cap, every fan-out a limit; what was dropped is counted and said.',
  'stored-once': 'Filter, page, diff, fold, share and export work on the stored result: no backend call.',
  'ids-not-names': 'People, groups, channels and teams are matched by id; names are labels.',
} as const

/** Numbers of the lessons that code which exists today answers to. */
export const lessons = [
  1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 20, 25, 26, 27, 28, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46,
].map((n) => `S${String(n).padStart(2, '0')}`)

/** A number with its thing, as people say it. */

import { expect, test } from 'vitest'
import { counted } from '../../src/core/counted.ts'

test('one is one, and every other number is many', () => {
  expect([0, 1, 2].map((count) => counted(count, 'node'))).toEqual(['0 nodes', '1 node', '2 nodes'])
  expect([1, 3].map((count) => counted(count, 'task is', 'tasks are'))).toEqual(['1 task is', '3 tasks are'])
})

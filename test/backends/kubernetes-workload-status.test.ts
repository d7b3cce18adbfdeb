/** How the rollout of a Kubernetes workload stands, where there is no pod that could say it. */

import { expect, test } from 'vitest'
import type { Workload } from '../../src/backends/kubernetes/workload.ts'
import { lookAt } from '../../src/backends/kubernetes/workload-status.ts'

const workload = (spec: Partial<Workload['spec']>, status: Workload['status'], generation = 2): Workload => ({
  metadata: { name: 'api', namespace: 'shop', uid: 'u', resourceVersion: '9', generation },
  spec: { selector: {}, template: { spec: { containers: [{ name: 'main', image: 'shop/api:2' }] } }, ...spec },
  status,
})
const image = { rollout: { verb: 'image', image: 'shop/api:2' } } as const
const condition = (type: string, status: string, reason: string, message = '') => ({ type, status, reason, message })

const three = { replicas: 3 }
const full = { observedGeneration: 2, replicas: 3, updatedReplicas: 3, readyReplicas: 3, availableReplicas: 3 }

test.each([
  ['all is there', three, full, 'done'],
  ['the controller has not seen it', three, { ...full, observedGeneration: 1 }, 'going'],
  ['not all are updated', three, { ...full, updatedReplicas: 2 }, 'going'],
  ['an old one is left', three, { ...full, replicas: 4 }, 'going'],
  ['one is not available', three, { ...full, availableReplicas: 2 }, 'going'],
  ['fewer are wanted and the others still end', { replicas: 1 }, full, 'going'],
  ['none is wanted', { replicas: 0 }, { observedGeneration: 2 }, 'done'],
  ['it is paused, half-way', { ...three, paused: true }, { ...full, updatedReplicas: 1 }, 'stuck'],
  ['it is paused, and all is there', { ...three, paused: true }, full, 'done'],
  [
    'its deadline is exceeded',
    three,
    { ...full, updatedReplicas: 1, conditions: [condition('Progressing', 'False', 'ProgressDeadlineExceeded')] },
    'stuck',
  ],
  [
    'the deadline of the change before is still written there',
    three,
    { ...full, observedGeneration: 1, conditions: [condition('Progressing', 'False', 'ProgressDeadlineExceeded')] },
    'going',
  ],
] as const)('a Deployment: %s', (_, spec, status, expected) => {
  expect(lookAt('deployment', workload(spec, status as unknown as Workload['status']), [], image).status).toBe(expected)
})

test('pods that a quota forbids are told, though there is no pod to look at', () => {
  const conditions = [condition('ReplicaFailure', 'True', 'FailedCreate', 'pods "api-1" is forbidden: exceeded quota')]
  const look = lookAt('deployment', workload(three, { ...full, updatedReplicas: 0, conditions }), [], image)
  expect(look).toMatchObject({ troubles: [{ who: 'its pods', why: expect.stringContaining('exceeded quota') }] })
})

test.each([
  [
    'its revisions are one, whatever the count of updated ones says',
    { updateRevision: 'b', currentRevision: 'b', updatedReplicas: 0 },
    'done',
  ],
  ['its revisions are two', { updateRevision: 'b', currentRevision: 'a', updatedReplicas: 2 }, 'going'],
  ['one is not ready', { updateRevision: 'b', currentRevision: 'b', readyReplicas: 2 }, 'going'],
] as const)('a StatefulSet: %s', (_, status, expected) => {
  expect(lookAt('statefulset', workload(three, { ...full, availableReplicas: null, ...status }), [], image).status).toBe(expected)
})

test.each([
  [{ desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2 }, 'done'],
  [{ desiredNumberScheduled: 2, updatedNumberScheduled: 1, numberAvailable: 2 }, 'going'],
  [{ desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 1 }, 'going'],
] as const)('a DaemonSet with %o is %s', (status, expected) => {
  expect(lookAt('daemonset', workload({}, { observedGeneration: 2, ...status }), [], image).status).toBe(expected)
})

const halfway = workload({ ...three, paused: true }, { ...full, updatedReplicas: 1 } as unknown as Workload['status'])

test.each([
  ['an image, on what was paused before', { ...image, wasPaused: true }, { status: 'done', isHeld: true }],
  ['a pause', { rollout: { verb: 'pause' } }, { status: 'done' }],
  ['a look', { rollout: { verb: 'status' } }, { status: 'done' }],
  ['a resume that someone takes back', { rollout: { verb: 'resume' } }, { status: 'stuck' }],
  ['a scale, which a pause does not hold back', { rollout: { verb: 'scale', replicas: 3 } }, { status: 'done' }],
  [
    'a scale that someone changes',
    { rollout: { verb: 'scale', replicas: 5 } },
    { status: 'stuck', why: expect.stringContaining('set it to 3') },
  ],
] as const)('[true-ending] a paused Deployment, half-way: %s', (_, asked, expected) => {
  expect(lookAt('deployment', halfway, [], asked)).toMatchObject(expected)
})

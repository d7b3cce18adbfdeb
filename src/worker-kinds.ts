/** The kinds of backend that there are on Workers. */

import { docker } from './backends/docker/backend.ts'
import { kubernetes } from './backends/kubernetes/connect.ts'
import { rancher1 } from './backends/rancher1/backend.ts'
import { rancher2 } from './backends/rancher2/backend.ts'
import type { Kinds } from './rooms.ts'

export const workerKinds: Kinds = { rancher1, rancher2, kubernetes, docker }

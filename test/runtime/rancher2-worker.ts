/** The story as a Worker: POST the options, get what it tells. */

import type { Rancher2Options } from '../../src/backends/rancher2/backend.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { story } from './rancher2-story.ts'

export default {
  async fetch(request: Request): Promise<Response> {
    return Response.json(await story((await request.json()) as Rancher2Options, { transport: workerTransport }))
  },
}

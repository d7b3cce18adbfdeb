/** The story as a Worker: POST what is asked, get what it tells. */

import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { type Asked, story } from './kubernetes-story.ts'

export default {
  async fetch(request: Request): Promise<Response> {
    return Response.json(await story((await request.json()) as Asked, { transport: workerTransport }))
  },
}

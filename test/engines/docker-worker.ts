/** The probe as a Worker: POST a step, get the answer. */

import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { probe, type Step } from './docker-probe.ts'

export default {
  async fetch(request: Request): Promise<Response> {
    return Response.json(await probe((await request.json()) as Step, { transport: workerTransport }))
  },
}

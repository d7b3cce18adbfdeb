/** The Workers door: requests come in here; every run, and the memory of deliveries, lives in a Durable Object. */

import { CONNECT_PATH } from './agent/handshake.ts'
import { createApp } from './app.ts'
import { DroverError } from './core/errors.ts'
import type { RunId } from './core/model.ts'
import type { Gateway } from './core/ports.ts'
import { isRunId } from './core/run-id.ts'
import { maskedLog } from './rooms.ts'
import { agentStub, ask, configOf, type Env, HUB, hub, workerLog } from './run-object.ts'

export { AgentObject } from './agent-object.ts'
export { RunObject } from './run-object.ts'

/** Calls travel to the object that owns what they are about: a run, or the hub. */
function remoteGateway(env: Env): Gateway {
  const atRun =
    (method: keyof Gateway) =>
    (run: RunId, ...rest: readonly unknown[]): Promise<never> => {
      // An object springs into being under any name: only names that can be runs are asked.
      if (!isRunId(run)) throw new DroverError({ code: 'not_found', message: 'That is not the id of a run.' })
      return ask(env, run, method, [run, ...rest])
    }
  return {
    submit: (request) => ask(env, request.id, 'submit', [request]),
    read: atRun('read'),
    output: atRun('output'),
    cancel: atRun('cancel'),
    share: atRun('share'),
    list: (query) => ask(env, HUB, 'list', [query]),
    targets: (...args) => ask(env, HUB, 'targets', args),
    why: (...args) => ask(env, HUB, 'why', args),
    mayRead: (...args) => ask(env, args[2] !== undefined && isRunId(args[2]) ? args[2] : HUB, 'mayRead', args),
    firstTime: (...args) => ask(env, HUB, 'firstTime', args),
  }
}

export default {
  async fetch(request: Request, env: Env, context: { waitUntil(promise: Promise<unknown>): void }): Promise<Response> {
    try {
      const config = configOf(env)
      const url = new URL(request.url)
      if (url.pathname === CONNECT_PATH) {
        // An object springs into being under any name.
        const agent = url.searchParams.get('agent') ?? ''
        if (!Object.hasOwn(config.agents, agent)) return new Response(null, { status: 403 })
        if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') return new Response(null, { status: 426 })
        return await agentStub(env, agent).fetch(request)
      }
      const app = createApp(config, remoteGateway(env), {
        log: maskedLog(config, workerLog),
        agent: async (name) => await (await agentStub(env, name).fetch('https://agent/state')).json(),
        keepAlive: (promise) => context.waitUntil(promise),
        ready: () =>
          remoteGateway(env)
            .list({ limit: 1 })
            .then(
              () => true,
              () => false,
            ),
      })
      return await app.fetch(request)
    } catch (error) {
      if (!(error instanceof DroverError)) throw error
      workerLog({ level: 'error', event: error.code, error: error.message })
      return new Response('drover is not configured; its log says what to mend.\n', { status: 503 })
    }
  },
  /** Each minute, by the trigger in wrangler.toml. */
  scheduled: (_event: unknown, env: Env): Promise<void> => hub(env).sweep(),
}

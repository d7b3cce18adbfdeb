/** Serves the ledger fixture from Deno: `/ledger/<name>` is a file of that name in the folder given. Prints its port. */

import { openSqlite } from '../../../src/ledger/db-sqlite.ts'
import { ledgerServer } from '../fixture-rpc.ts'

declare const Deno: {
  readonly args: readonly string[]
  serve(
    options: { hostname: string; port: number; onListen(address: { port: number }): void },
    handler: (request: Request) => Promise<Response>,
  ): unknown
}

const servers = new Map<string, (request: Request) => Promise<Response>>()

Deno.serve({ hostname: '127.0.0.1', port: 0, onListen: ({ port }) => console.log(`port ${port}`) }, (request) => {
  const name = new URL(request.url).pathname.split('/')[2] ?? ''
  const server = servers.get(name) ?? ledgerServer(() => openSqlite(`${Deno.args[0]}/${name}.db`))
  servers.set(name, server)
  return server(request)
})

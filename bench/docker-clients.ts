/** Other ways to run `true` in a container: the Engine's API and nothing else, and dockerode, fetched into a folder of its own. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

export type Client = { run(container: string): Promise<void>; close(): void }

const socketPath = (process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock').replace(/^unix:\/\//, '')

/** Create, start, read to the end, ask how it ended: what any client has to do, each over a connection of its own. */
export const bareApi: Client = {
  async run(container) {
    const body = { Cmd: ['true'], AttachStdout: true, AttachStderr: true }
    const { Id } = JSON.parse(await call('POST', `/containers/${container}/exec`, body)) as { Id: string }
    await call('POST', `/exec/${Id}/start`, { Detach: false, Tty: false })
    const { ExitCode } = JSON.parse(await call('GET', `/exec/${Id}/json`)) as { ExitCode: number }
    if (ExitCode !== 0) throw new Error(`exit code ${ExitCode}`)
  },
  close() {},
}

function call(method: string, path: string, body?: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers: { 'content-type': 'application/json' } }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (data: Buffer) => parts.push(data))
      response.on('end', () => resolve(Buffer.concat(parts).toString()))
      response.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

const INSTALL_MS = 180_000

type Dockerode = {
  getContainer(id: string): {
    exec(
      options: object,
    ): Promise<{ start(options: object): Promise<NodeJS.ReadableStream>; inspect(): Promise<{ ExitCode: number }> }>
  }
}

/** Not a dependency: 66 packages for one row. Throws where the registry is out of reach. */
export async function dockerode(): Promise<Client> {
  const folder = mkdtempSync(join(tmpdir(), 'drover-bench-dockerode-'))
  const close = () => rmSync(folder, { recursive: true, force: true })
  try {
    const options = ['--prefix', folder, '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund']
    await promisify(execFile)('npm', ['install', ...options, 'dockerode@5.0.1'], { timeout: INSTALL_MS })
    const Docker = createRequire(join(folder, 'here.js'))('dockerode') as new (options: object) => Dockerode
    const engine = new Docker({ socketPath })
    return {
      close,
      async run(container) {
        const exec = await engine.getContainer(container).exec({ Cmd: ['true'], AttachStdout: true, AttachStderr: true })
        const output = await exec.start({})
        await new Promise((resolve, reject) => {
          output.on('end', resolve)
          output.on('error', reject)
          output.resume()
        })
        const { ExitCode } = await exec.inspect()
        if (ExitCode !== 0) throw new Error(`exit code ${ExitCode}`)
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

/** Containers on the real engine for the tests of the docker backend, made and looked at with its own client. */

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'

export const socketPath = (process.env.DOCKER_HOST ?? '').replace(/^unix:\/\//, '')
export const image = process.env.DOCKER_TEST_IMAGE ?? ''

export const docker = (...args: readonly string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim()

/** No shell: busybox under two other names, and nothing else. */
export function bareImage(): string {
  const name = 'drover-test/bare:1'
  const folder = mkdtempSync(join(tmpdir(), 'drover-bare-'))
  try {
    mkdirSync(join(folder, 'bin'))
    for (const program of ['sleep', 'echo']) copyFileSync('/bin/busybox', join(folder, 'bin', program))
    execFileSync('sh', ['-c', 'tar -C "$1" -c . | docker import -c "ENV PATH=/bin" - "$2" >/dev/null', 'sh', folder, name])
    return name
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export type World = {
  /** Starts a container that lasts, under a name of this world's own. Returns that name. */
  run(name: string, options?: readonly string[], from?: string, argv?: readonly string[]): string
  tearDown(): void
}

export function dockerWorld(): World {
  const tag = randomBytes(3).toString('hex')
  const names: string[] = []
  return {
    run(name, options = [], from = image, argv = ['sleep', '100000']) {
      const whole = `${name}-${tag}${names.length}`
      docker('run', '-d', '--name', whole, ...options, from, ...argv)
      names.push(whole)
      return whole
    },
    tearDown: () => {
      for (const name of names)
        try {
          docker('rm', '-f', '-v', name)
        } catch {
          // A test has removed it.
        }
    },
  }
}

export async function named(backend: Backend, name: string): Promise<Target> {
  const [found] = await backend.list({ name }, AbortSignal.timeout(30_000))
  if (!found) throw new Error(`no container ${name}`)
  return found
}

/** By the host's own eyes: whatever user they have, whatever the image holds. */
export function processesIn(name: string, needle: string): readonly string[] {
  return docker('top', name, '-eo', 'pid,stat,args')
    .split('\n')
    .filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line))
}

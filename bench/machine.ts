/** On what the figures were taken: without it they mean nothing. */

import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem, type } from 'node:os'
import { deno } from './places.ts'

export type Machine = {
  readonly at: string
  readonly system: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  /** Over 1, 5 and 15 minutes before the first measurement. */
  readonly loadBefore: readonly number[]
  readonly node: string
  readonly deno: string
}

export function describeMachine(): Machine {
  return {
    at: new Date().toISOString(),
    system: `${type()} ${release()}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    loadBefore: loadavg().map((load) => Math.round(load * 100) / 100),
    node: process.version,
    deno: execFileSync(deno, ['--version']).toString().split(/\s/)[1] ?? 'unknown',
  }
}

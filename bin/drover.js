#!/usr/bin/env node
// In a clone the sources run as they are; the published package has only what was built from them.
import { existsSync, mkdirSync, statSync } from 'node:fs'
import * as module from 'node:module'
import { join } from 'node:path'
import process from 'node:process'

if (Number(process.versions.node.split('.')[0]) < 22) {
  console.error(`drover needs Node 22.18 or newer, and this is ${process.version}. In a clone, npx drover takes the Node that npm install has brought.`)
  process.exit(1)
}

// What one start has compiled, the next ones take from the caller's own folder. What lies there runs: a folder that belongs to
// another, or that others may write to, is not used, and neither is Node's default for it, which is in /tmp.
const caches = process.env.XDG_CACHE_HOME || (process.env.HOME && join(process.env.HOME, '.cache'))
if (caches) {
  const folder = join(caches, 'drover')
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid, mode } = statSync(folder)
    if (uid === process.getuid?.() && (mode & 0o022) === 0) module.enableCompileCache(folder)
  } catch {
    // A home that cannot be written to: every start compiles anew.
  }
}

const source = new URL('../src/cli.ts', import.meta.url)
await import(existsSync(source) ? source.href : new URL('../dist/cli.js', import.meta.url).href)

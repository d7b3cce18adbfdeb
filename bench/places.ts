/** Where the programs and files are that a measurement starts. */

import { fileURLToPath } from 'node:url'

export const root = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))
export const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
export const deno = root('node_modules/.bin/deno')
export const wrangler = root('node_modules/wrangler/bin/wrangler.js')

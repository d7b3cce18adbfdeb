/** The pages of the documentation, and what stands in them: blocks, spans, headings, links. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const root = join(import.meta.dirname, '..')
export const read = (path: string) => readFileSync(join(root, path), 'utf8')
export const under = (folder: string, ending: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => join(folder, path))
    .sort()
export const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...under('docs', '.md')]

export type Piece = { readonly line: number; readonly language: string; readonly text: string }

/** The fenced blocks, and the rest of the page with as many empty lines in their place. */
export function piecesOf(page: string): { readonly blocks: readonly Piece[]; readonly prose: string } {
  const blocks: Piece[] = []
  const prose = page.replaceAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm, (all, _, language: string, text: string, at: number) => {
    blocks.push({ line: page.slice(0, at).split('\n').length + 1, language, text })
    return all.replaceAll(/[^\n]/g, '')
  })
  return { blocks, prose }
}

export const spansOf = (prose: string): Piece[] =>
  [...prose.matchAll(/`([^`\n]+)`/g)].map(({ 1: text = '', index }) => ({
    line: prose.slice(0, index).split('\n').length,
    language: '',
    text: text.replaceAll('\\|', '|'),
  }))

/** Where a link leads: a page of its own or of another project, and the heading in it. */
export const linksOf = (prose: string): string[] => [...prose.matchAll(/\]\(([^)\s]+)[^)]*\)/g)].map(([, to = '']) => to)

/** The headings as GitHub names them in an address. */
export const anchorsOf = (prose: string): string[] =>
  [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

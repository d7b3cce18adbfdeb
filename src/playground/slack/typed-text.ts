/** What Slack makes of the text a person types: escapes, links and mentions, as an app then receives it. */

import type { Channel, Person } from './workplace.ts'

export type Token =
  | { readonly type: 'text' | 'code'; readonly text: string }
  | { readonly type: 'link'; readonly url: string; readonly text: string }
  | { readonly type: 'user' | 'channel' | 'usergroup'; readonly id: string; readonly name: string }
  | { readonly type: 'broadcast'; readonly range: 'here' | 'channel' | 'everyone' }

export type Names = {
  readonly people: readonly Person[]
  readonly channels: readonly Channel[]
  readonly groups: readonly { readonly id: string; readonly handle: string }[]
}

/** Slack escapes exactly these three. */
export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** Undoes `escapeText`, once. */
export function unescapeText(text: string): string {
  return text.replace(/&(amp|lt|gt);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>' })[name] ?? '')
}

// Slack links bare names that end in a top-level domain it knows; `.sh` is one, to the grief of everyone who types script names.
const patterns = [
  '(?<code>`[^`\\n]+`)',
  '(?<url>https?://[^\\s<>"“”\'‘’`|]*[^\\s<>"“”\'‘’`|.,;:!?)\\]}])',
  '(?<mail>[\\w.+-]+@[\\w-]+(?:\\.[\\w-]+)+)',
  '(?<domain>(?<![\\w@/.-])(?:[a-z0-9-]+\\.)+(?:com|org|net|io|dev|sh|de|uk|app|ai|me)(?![\\w.-])(?::\\d+)?(?:/[^\\s<>"“”\'‘’`|]*)?)',
  '@(?<at>[a-z0-9._-]*[a-z0-9])',
  '(?<![\\w&])#(?<channel>[a-z0-9_-]+)',
].join('|')

export function tokens(typed: string, names: Names): readonly Token[] {
  const found: Token[] = []
  let end = 0
  const text = (to: number) => {
    if (to > end) found.push({ type: 'text', text: typed.slice(end, to) })
  }
  for (const match of typed.matchAll(new RegExp(patterns, 'gi'))) {
    const token = tokenOf(match[0], match.groups ?? {}, names)
    if (token === undefined) continue
    text(match.index)
    found.push(token)
    end = match.index + match[0].length
  }
  text(typed.length)
  return found
}

function tokenOf(whole: string, groups: Record<string, string | undefined>, names: Names): Token | undefined {
  if (groups.code !== undefined) return { type: 'code', text: whole.slice(1, -1) }
  if (groups.url !== undefined) return { type: 'link', url: whole, text: whole }
  if (groups.mail !== undefined) return { type: 'link', url: `mailto:${whole}`, text: whole }
  if (groups.domain !== undefined) return { type: 'link', url: `http://${whole}`, text: whole }
  if (groups.at !== undefined) {
    const at = groups.at.toLowerCase()
    if (at === 'here' || at === 'channel' || at === 'everyone') return { type: 'broadcast', range: at }
    const person = names.people.find((one) => one.name === at)
    if (person) return { type: 'user', id: person.id, name: person.name }
    const group = names.groups.find((one) => one.handle === at)
    return group && { type: 'usergroup', id: group.id, name: group.handle }
  }
  const channel = names.channels.find((one) => one.name === groups.channel?.toLowerCase())
  return channel && { type: 'channel', id: channel.id, name: channel.name }
}

/** Message text as events carry it. */
export function toMrkdwn(parts: readonly Token[]): string {
  return parts.map(mrkdwnOf).join('')
}

function mrkdwnOf(token: Token): string {
  switch (token.type) {
    case 'text':
      return escapeText(token.text)
    case 'code':
      return `\`${escapeText(token.text)}\``
    case 'link':
      return token.url === token.text ? `<${escapeText(token.url)}>` : `<${escapeText(token.url)}|${escapeText(token.text)}>`
    case 'user':
      return `<@${token.id}>`
    case 'channel':
      return `<#${token.id}|${token.name}>`
    case 'usergroup':
      return `<!subteam^${token.id}>`
    case 'broadcast':
      return `<!${token.range}>`
    default:
      return token satisfies never
  }
}

/** The same text as the rich_text block that people's messages carry. */
export function toRichText(parts: readonly Token[]): readonly unknown[] {
  const elements = parts.map((token) => {
    switch (token.type) {
      case 'text':
        return { type: 'text', text: token.text }
      case 'code':
        return { type: 'text', text: token.text, style: { code: true } }
      case 'link':
        return token.url === token.text ? { type: 'link', url: token.url } : { type: 'link', url: token.url, text: token.text }
      case 'user':
        return { type: 'user', user_id: token.id }
      case 'channel':
        return { type: 'channel', channel_id: token.id }
      case 'usergroup':
        return { type: 'usergroup', usergroup_id: token.id }
      case 'broadcast':
        return { type: 'broadcast', range: token.range }
      default:
        return token satisfies never
    }
  })
  return [{ type: 'rich_text', block_id: 'typed', elements: [{ type: 'rich_text_section', elements }] }]
}

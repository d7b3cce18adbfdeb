/** labelSelector and fieldSelector as an API server takes them; what it refuses is an Error with its words. */

type Terms = (labels: Readonly<Record<string, string>>) => boolean

const KEY = '(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?'
const VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/

export function labelTerms(text: string): Terms {
  const terms = split(text).map(labelTerm)
  return (labels) => terms.every((term) => term(labels))
}

function labelTerm(text: string): Terms {
  const [, not, lone] = new RegExp(`^(!?)\\s*(${KEY})$`).exec(text) ?? []
  if (lone !== undefined) return (labels) => Object.hasOwn(labels, lone) !== (not === '!')
  const set = new RegExp(`^(${KEY})\\s+(in|notin)\\s+\\(([^()]*)\\)$`).exec(text)
  const pair = new RegExp(`^(${KEY})\\s*(==|=|!=)\\s*(\\S*)$`).exec(text)
  const [, key = ''] = set ?? pair ?? []
  const operator = set?.[2] ?? pair?.[2]
  const values = set ? (set[3] ?? '').split(',').map((one) => one.trim()) : [pair?.[3] ?? '']
  if (operator === undefined || !values.every((one) => VALUE.test(one))) throw new Error(`unable to parse requirement: ${text}`)
  const isIn = (labels: Readonly<Record<string, string>>) => Object.hasOwn(labels, key) && values.includes(labels[key] ?? '')
  return operator === '!=' || operator === 'notin' ? (labels) => !isIn(labels) : isIn
}

/** Commas between terms; those in parentheses belong to a set. */
function split(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((one) => one.trim())
    .filter((one) => one !== '')
}

/** `fields` are the ones that this kind of object can be chosen by. */
export function fieldTerms(text: string, fields: Readonly<Record<string, string>>): boolean {
  return split(text).every((term) => {
    const [, key = '', operator = '', value = ''] = /^([^!=]+?)\s*(!=|==|=)\s*(.*)$/.exec(term) ?? []
    if (!Object.hasOwn(fields, key)) throw new Error(`field label not supported: ${key || term}`)
    return (fields[key] === value) === (operator !== '!=')
  })
}

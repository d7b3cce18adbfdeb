/** What may come next in a command that is being typed; no more than text in and choices out. */

const MOST = 12
const words = [
  { text: 'label=', about: 'containers with this label: a key, a value, key=value' },
  { text: 'name=', about: 'containers of this name; * matches anything' },
  { text: 'stack=', about: 'containers of this stack' },
  { text: 'service=', about: 'containers of this service' },
  { text: 'namespace=', about: 'containers of this namespace' },
  { text: 'deployment=', about: 'containers of this deployment' },
  { text: 'on=', about: 'only on this backend' },
  { text: 'timeout=', about: 'end it after this long' },
  { text: 'cmd=', about: 'the command' },
]
const firstWords = [
  { text: 'targets', about: 'what a selector means, without running anything' },
  { text: 'why', about: 'what would happen, and by which rule' },
  { text: 'runs', about: 'what ran here' },
  { text: 'help', about: 'how to write it' },
  { text: 'rollout', about: 'change a workload' },
]
const slashes = [
  { text: '/exec ', about: 'run a command in every matching container' },
  { text: '/rollout ', about: 'change a workload and watch it' },
]
const verbs = [
  { text: 'image', about: 'another image; undo goes back' },
  { text: 'restart', about: 'all of it, a few at a time' },
  { text: 'scale', about: 'to this many' },
  { text: 'undo', about: 'back to the revision before' },
  { text: 'pause', about: 'changes wait' },
  { text: 'resume', about: 'changes go on' },
  { text: 'finish', about: 'no way back (Rancher 1.x)' },
  { text: 'status', about: 'how it stands' },
  { text: 'why', about: 'what would be changed, and by which rule' },
  { text: 'help', about: 'how to write it' },
]
const workloads = [
  { text: 'deployment=', about: 'this deployment' },
  { text: 'service=', about: 'workloads of this service' },
  { text: 'stack=', about: 'workloads of this stack' },
  { text: 'namespace=', about: 'workloads of this namespace' },
  { text: 'on=', about: 'only on this backend' },
  { text: 'timeout=', about: 'watch no longer than this' },
]
const parameters = {
  image: [
    { text: 'container=', about: 'which of its containers' },
    { text: 'image=', about: 'the new image' },
  ],
  scale: [{ text: 'replicas=', about: 'how many' }],
  undo: [{ text: 'to=', about: 'this revision, not the one before' }],
}
const times = ['5s', '20s', '1m'].map((text) => ({ text }))
const commands = ['"uptime"', '"df -h"', '"ps aux"', '"hostname"', '"tail -n 20 /var/log/app.log"'].map((text) => ({ text }))

/** `offers`: what drover tells this person here. Returns what to replace and with what; nothing when there is nothing to say. */
export function suggest(text, caret, offers) {
  const before = text.slice(0, caret)
  if (/^\/\w*$/.test(before)) {
    const choices = slashes.filter(({ text }) => text.trim().startsWith(before))
    return choices.length > 0 ? { from: 0, to: caret, choices } : undefined
  }
  const start = /^\/(?:exec|rollout)\s+|@drover\s+/i.exec(before)
  if (!start) return undefined
  const from = tokenStart(before, start.index + start[0].length)
  const done = before.slice(start.index + start[0].length, from)
  if (/(^|\s)--\s/.test(done)) return undefined
  const token = before.slice(from)
  const rollout = /^(?:\/rollout|.*@drover\s+rollout|\/exec\s+rollout)\s/i.test(before)
  if (rollout) return suggestRollout(token, done, { from, caret, offers })
  const equals = token.indexOf('=')
  if (equals < 0) {
    const isUsed = (word) => done.includes(word.text)
    const first = done.trim() === '' ? firstWords : []
    return found(token, from, caret, [...words.filter((word) => !isUsed(word)), ...first])
  }
  const key = token.slice(0, equals)
  const at = key === 'label' ? Math.max(equals, token.lastIndexOf(',')) + 1 : equals + 1
  return found(token.slice(at), from + at, caret, valuesOf(key, offers), ' ')
}

function suggestRollout(token, done, { from, caret, offers }) {
  const [verb] = done
    .trim()
    .split(/\s+/)
    .filter((word) => word !== '' && word !== 'why' && word !== 'rollout')
  const equals = token.indexOf('=')
  if (verb === undefined) return found(token, from, caret, verbs)
  if (equals >= 0) {
    const at = equals + 1
    return found(token.slice(at), from + at, caret, valuesOf(token.slice(0, equals), offers), ' ')
  }
  const isNamed = /\s(deployment|service)=\S/.test(done)
  const words = isNamed ? [...(parameters[verb] ?? []), ...workloads] : [...workloads, ...(parameters[verb] ?? [])]
  return found(
    token,
    from,
    caret,
    words.filter(({ text }) => !done.includes(` ${text}`)),
  )
}

/** Where the word under the caret begins; a quote holds spaces together. */
function tokenStart(text, from) {
  let start = from
  let quote
  for (let at = from; at < text.length; at += 1) {
    const one = text[at]
    if (quote) quote = one === quote ? undefined : quote
    else if (one === '"' || one === "'") quote = one
    else if (/\s/.test(one)) start = at + 1
  }
  return start
}

function valuesOf(key, offers) {
  const plain = (list, about) => (list ?? []).map((text) => ({ text, about }))
  switch (key) {
    case 'label':
      return plain(offers.labels)
    case 'name':
      return [...plain(families(offers.names ?? []), 'all of them'), ...plain(offers.names)]
    case 'stack':
      return plain(offers.stacks)
    case 'service':
      return plain(offers.services)
    case 'on':
      return plain(offers.backends)
    case 'deployment':
      return plain(offers.deployments)
    case 'namespace':
      return plain(offers.namespaces)
    case 'container':
      return plain(offers.containers)
    case 'image':
      return plain(offers.images)
    case 'replicas':
      return ['1', '3', '5'].map((text) => ({ text }))
    case 'timeout':
      return times
    case 'cmd':
      return commands
    default:
      return []
  }
}

/** `shop-web-*` where there are several of them. */
function families(names) {
  const counts = Map.groupBy(
    names.filter((name) => /-\d+$/.test(name)),
    (name) => name.replace(/\d+$/, '*'),
  )
  return [...counts].filter(([, members]) => members.length > 1).map(([glob]) => glob)
}

/** Those that begin with what is there, then those that hold it. */
function found(typed, from, to, all, after = '') {
  const wanted = typed.toLowerCase()
  const begins = all.filter(({ text }) => text.toLowerCase().startsWith(wanted))
  const holds = all.filter((one) => !begins.includes(one) && one.text.toLowerCase().includes(wanted))
  const choices = [...begins, ...holds].slice(0, MOST).map((one) => ({
    ...one,
    text: one.text + (one.text.endsWith('=') ? '' : after || ' '),
  }))
  const isDone = choices.length === 0 || (choices.length === 1 && choices[0].text.trim() === typed)
  return isDone ? undefined : { from, to, choices }
}

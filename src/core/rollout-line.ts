/** `rollout image deployment=api container=main image=repo:2`: what people type to change a workload, or to look at one. */

import type { Rollout } from './model.ts'
import { type Pair, parseDuration, parsePair, refuseTwice, selectorOf, usage, workloadKinds } from './pairs.ts'
import { faultOf, isRolloutVerb, rolloutArgv, rolloutVerbs } from './rollout.ts'
import type { Word } from './words.ts'

const selectorKeys = ['on', 'name', 'id', 'label', 'namespace', 'stack', 'service', 'workload', ...workloadKinds, 'all', 'system']
/** Words of a command, which a rollout has not: a nearer answer than "no such key". */
const commandKeys = ['cmd', 'env', 'dir', 'user', 'stdin', 'tty']

const parameters: Readonly<Record<Rollout['verb'], readonly string[]>> = {
  image: ['image', 'container'],
  scale: ['replicas'],
  undo: ['to'],
  restart: [],
  pause: [],
  resume: [],
  finish: [],
  status: [],
}

/** A line that is right, for the verb; `rollout image …` for none. */
export function rolloutForm(verb: Rollout['verb'] = 'image'): string {
  const more = { image: ' container=main image=registry.example.com/shop/api:2', scale: ' replicas=3' }
  return `rollout ${verb} deployment=api${verb === 'image' || verb === 'scale' ? more[verb] : ''}`
}

/** `words` follow the word `rollout` or `why`; `after`: the `--` of a command, which a rollout has not. */
export function parseRollout(
  words: readonly Word[],
  line: { readonly why: boolean; readonly after: Word | undefined; readonly endAt: number },
) {
  const rest = [...words]
  let isWhy = line.why
  for (; rest[0]?.text === 'why' || rest[0]?.text === 'rollout'; rest.shift()) isWhy ||= rest[0].text === 'why'
  const verb = verbOf(rest.shift(), line.endAt)
  const example = `For example: ${rolloutForm(verb)}`
  const keys = [...selectorKeys, ...parameters[verb], 'timeout']
  const pairs = rest.map((word) => {
    const key = word.text.slice(0, Math.max(0, word.text.indexOf('=')))
    if (key === 'any')
      throw usage(
        'any= would leave to chance which workload is changed.',
        word.start,
        'Say which one, or all of them with all=N.',
      )
    if (commandKeys.includes(key)) throw usage(`A rollout runs no command, so it takes no ${key}=.`, word.start, example)
    if (!keys.includes(key) && Object.values(parameters).flat().includes(key))
      throw usage(`rollout ${verb} takes no ${key}=.`, word.start, example)
    return parsePair(word, { keys, hint: () => `Write it as key=value. ${example}` })
  })
  if (line.after) throw usage('A rollout runs no command, so nothing follows --.', line.after.start, example)
  refuseTwice(pairs)
  const selector = selectorOf(
    pairs.filter(({ key }) => selectorKeys.includes(key)),
    'run',
  )
  const rollout = rolloutOf(verb, pairs, line.endAt)
  const fault = faultOf(rollout)
  if (fault) throw usage(fault.message, pairs.find(({ key }) => key === fault.field)?.valueAt ?? line.endAt, fault.next)
  const timeout = pairs.find(({ key }) => key === 'timeout')
  return {
    verb: isWhy ? ('why' as const) : ('rollout' as const),
    selector,
    command: { argv: rolloutArgv(rollout) },
    rollout,
    ...(timeout ? { timeoutMs: parseDuration(timeout) } : {}),
  }
}

function verbOf(word: Word | undefined, endAt: number): Rollout['verb'] {
  if (word && isRolloutVerb(word.text)) return word.text
  const said = word && /^[A-Za-z-]{1,20}$/.test(word.text) ? `There is no rollout called ${word.text}.` : undefined
  throw usage(
    said ?? 'Nothing says what to do with the workload.',
    word?.start ?? endAt,
    `Say one of ${rolloutVerbs.join(', ')}. For example: ${rolloutForm()}`,
  )
}

function rolloutOf(verb: Rollout['verb'], pairs: readonly Pair[], endAt: number): Rollout {
  const one = (key: string) => pairs.find((pair) => pair.key === key)?.value
  const needed = (key: string) => {
    const value = one(key)
    if (value === undefined) throw usage(`rollout ${verb} needs ${key}=.`, endAt, `For example: ${rolloutForm(verb)}`)
    return value
  }
  switch (verb) {
    case 'image': {
      const container = one('container')
      return { verb, image: needed('image'), ...(container === undefined ? {} : { container }) }
    }
    case 'scale': {
      const replicas = needed('replicas')
      return { verb, replicas: /^[0-9]{1,6}$/.test(replicas) ? Number(replicas) : Number.NaN }
    }
    case 'undo': {
      const to = one('to')
      return { verb, ...(to === undefined ? {} : { to }) }
    }
    default:
      return { verb }
  }
}

/** How an execution is found again: by a kill in this process or another, before its first word or long after. */

/** What became of an execution's own request, for a kill that comes before its first word. */
export type Begun = {
  readonly id: string
  readonly user: string | undefined
  asked: boolean
  /** Once there is output: takes it from the engine, whoever reads. */
  drain?: () => void
}
/** By the execution's id, while it may still be asked for. */
export type BegunExecs = Map<string, Begun>

/** More would be runs whose end nobody waited for. */
const MAX_BEGUN = 1000

export function remember(begun: BegunExecs, exec: string, record: Begun): void {
  begun.set(exec, record)
  for (const oldest of begun.keys()) {
    if (begun.size <= MAX_BEGUN) return
    begun.delete(oldest)
  }
}

/** All that a kill in another process needs: the marker, the engine's own id, and the user, who may be the only one that can look. */
export function handleText({
  exec,
  id,
  user,
}: {
  readonly exec: string
  readonly id: string
  readonly user: string | undefined
}): string {
  return user === undefined ? `${exec}.${id}` : `${exec}.${id}.${user}`
}

export function readHandle(text: string): { readonly exec: string; readonly id?: string; readonly user?: string } {
  const [, exec = text, id, user] = /^([^.]*)(?:\.([0-9a-f]{64})(?:\.([\s\S]+))?)?$/.exec(text) ?? []
  return { exec, ...(id === undefined ? {} : { id }), ...(user === undefined ? {} : { user }) }
}

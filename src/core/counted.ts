/** A number with its thing, as people say it: 1 node, 2 nodes. */

export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

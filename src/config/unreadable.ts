/** Why a file of the operator's cannot be read, in the words of who has to mend it. */

export function unreadable(path: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return `${path} cannot be read: there is no such file.`
  if (code === 'EACCES' || code === 'EPERM') return `${path} cannot be read: the user that drover runs as may not.`
  return code === 'EISDIR' ? `${path} cannot be read: it is a folder.` : `${path} cannot be read.`
}

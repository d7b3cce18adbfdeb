/** Reads the address of a Docker Engine, as the docker client writes it. */

export type Host =
  | { readonly way: 'unix'; readonly path: string }
  /** `base`: origin and path prefix, without a slash at its end. */
  | { readonly way: 'http'; readonly base: string; readonly plaintext: boolean }
  | { readonly way: 'ssh'; readonly host: string; readonly user?: string; readonly port?: string }
  | { readonly way: 'problem'; readonly problem: string }

const problem = (text: string): Host => ({ way: 'problem', problem: text })

/** `tls`: there are certificates for it. `plaintext`: an operator said that a connection anyone can read and use is meant. */
export function readHost(text: string, { tls, plaintext }: { readonly tls: boolean; readonly plaintext: boolean }): Host {
  const scheme = /^([a-z]+):\/\//.exec(text)?.[1]
  if (scheme === 'unix') {
    const path = text.slice('unix://'.length)
    return path.startsWith('/') ? { way: 'unix', path } : problem('a socket’s path is absolute: unix:///var/run/docker.sock')
  }
  // `unix:/run/docker.sock` would be a port of a host called unix.
  if (scheme === undefined && /^(unix:|\/)/.test(text))
    return problem('a socket is written with three slashes: unix:///var/run/docker.sock')
  if (scheme === 'npipe' || scheme === 'fd')
    return problem(`${scheme}:// is not supported: use unix://, tcp://, https:// or ssh://`)
  // A scheme of its own lets no parser drop a port that is usual for the real one.
  const address = `any://${text.slice(scheme === undefined ? 0 : scheme.length + 3)}`
  if (!URL.canParse(address)) return problem('an address like unix:///var/run/docker.sock, tcp://host:2376 or ssh://user@host')
  const url = new URL(address)
  if (url.password !== '') return problem('a password does not belong into an address')
  if (url.hostname === '' || url.search !== '' || url.hash !== '') return problem('the address names no host')
  const path = url.pathname.replace(/\/+$/, '')
  switch (scheme) {
    case 'ssh':
      if (path !== '') return problem('an address with ssh:// has no path')
      // Behind `-l` and `--`, and still no word that ssh could take for an option.
      if (url.hostname.startsWith('-') || url.username.startsWith('-')) return problem('neither user nor host begins with -')
      return {
        way: 'ssh',
        host: url.hostname.replace(/^\[|\]$/g, ''),
        ...(url.username ? { user: decodeURIComponent(url.username) } : {}),
        ...(url.port ? { port: url.port } : {}),
      }
    case 'https':
      return url.username
        ? problem('a user belongs only to ssh://')
        : { way: 'http', base: `https://${url.host}${path}`, plaintext: false }
    case 'http':
    case 'tcp':
    case undefined: {
      if (url.username) return problem('a user belongs only to ssh://')
      const isSecure = tls && scheme !== 'http'
      if (!isSecure && !plaintext)
        return problem(
          'this is not encrypted, and whoever can reach it owns that host: give tls: {ca, cert, key}, use ssh:// or https://, or say plaintext: true',
        )
      const port = url.port || (isSecure ? '2376' : '2375')
      return { way: 'http', base: `${isSecure ? 'https' : 'http'}://${url.hostname}:${port}${path}`, plaintext: !isSecure }
    }
    default:
      return problem(`${scheme}:// does not lead to an engine: use unix://, tcp://, https:// or ssh://`)
  }
}

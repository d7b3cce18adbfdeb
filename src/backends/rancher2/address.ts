/** What a pasted address of Rancher 2 says: where the server is, and which cluster and project are meant. */

export type Address = {
  /** Without a slash at its end; `/v3` and `/k8s` begin behind it. */
  readonly base: string
  readonly cluster?: string
  /** Without its cluster: `p-def34`. */
  readonly project?: string
}

export type AddressProblem = { readonly where: 'url' | 'cluster' | 'project'; readonly problem: string }

/** Everything that Rancher's pages and APIs begin with (rancher-2.md §1, §9; the old pages are /c, /p and /g). */
const PAGES = /^(.*?)\/(?:dashboard|v3(?:-public)?|k8s|v1|c|p|g|login)(?:\/.*)?$/
const ID = '[a-z0-9](?:[a-z0-9-]*[a-z0-9])?'
const CLUSTER = new RegExp(`/(?:c|clusters?|k8s/clusters)/(${ID})(?=/|$)`)
const PROJECT = new RegExp(`/(?:p|projects?)/(${ID}):(p-[a-z0-9-]+)(?=/|$)`)

/** Scope that is written out has to agree with the address. */
export function readAddress(settings: {
  readonly url: string
  readonly cluster?: string | undefined
  readonly project?: string | undefined
}): Address | AddressProblem {
  if (!URL.canParse(settings.url)) return { where: 'url', problem: 'not a URL' }
  const url = new URL(settings.url)
  if (url.username || url.password)
    return { where: 'url', problem: 'the address holds credentials; they belong in token: { env: NAME }' }
  if (/\/v2-beta(\/|$)|\/v1\/projects(\/|$)/.test(url.pathname))
    return { where: 'url', problem: 'this is the address of a Rancher 1.x server: write kind: rancher1' }
  const path = decodedPath(url)
  const prefix = (PAGES.exec(path)?.[1] ?? path).replace(/\/+$/, '')
  const [, projectCluster, urlProject] = PROJECT.exec(path) ?? []
  const urlCluster = projectCluster ?? CLUSTER.exec(path.slice(prefix.length))?.[1]
  const [project, namedCluster] = (settings.project ?? '').split(':').reverse()

  const clusters = { 'the address': urlCluster, 'cluster:': settings.cluster, 'project:': namedCluster }
  const named = Object.entries(clusters).filter((one): one is [string, string] => one[1] !== undefined)
  const other = named.find(([, id]) => id !== named[0]?.[1])
  if (other)
    return {
      where: settings.cluster === undefined ? 'project' : 'cluster',
      problem: `${named[0]?.[0]} says ${named[0]?.[1]} and ${other[0]} says ${other[1]}: leave one of them out`,
    }
  if (project && urlProject && project !== urlProject)
    return { where: 'project', problem: `the address says ${urlProject} and project: says ${project}: leave one of them out` }
  const cluster = named[0]?.[1]
  const chosen = project || urlProject
  if (chosen && cluster === undefined)
    return { where: 'project', problem: `whose ${chosen}? write it with its cluster, like c-abc12:${chosen}` }
  return {
    base: `${url.origin}${prefix}`,
    ...(cluster === undefined ? {} : { cluster }),
    ...(chosen ? { project: chosen } : {}),
  }
}

/** A pasted address has `%3A` for the colon of a project. */
function decodedPath({ pathname }: URL): string {
  try {
    return decodeURIComponent(pathname)
  } catch {
    return pathname
  }
}

/** Which real engines are there to be measured, and how to start the others. */

export const startDocker = 'export $(sh test/engines/start-docker.sh start --worker --cli-image)'
export const startKubernetes = 'bash test/engines/kubernetes.sh build && eval "$(bash test/engines/kubernetes.sh start)"'

/** What a bench needs, when this variable of its engine is not set. */
export function missing(variable: string, start: string): string | undefined {
  return process.env[variable] ? undefined : `${variable} is not set; as root on Debian: \`${start}\``
}

/** A real registry beside the engine of the tests: Debian's docker-registry, in the engine's own network, on its loopback. */

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { docker, image, socketPath } from './docker-world.ts'

export type Registry = {
  /** As image names begin with it. */
  readonly host: string
  /** Puts the test image there and takes it off the engine; returns its name and the same by digest. */
  push(name: string): { readonly tagged: string; readonly byDigest: string }
  /** With `asksForLogin`: the configuration file that the docker client writes when somebody logs in. */
  readonly logins: string
  close(): void
}

/** With what a separator, base64 and URLs make of it. */
export const SECRET = 'open:sesame/ä?'

const INSTALLED = '/usr/bin/docker-registry'

/** `asksForLogin`: nobody gets anything without credentials. */
export function startRegistry({ asksForLogin = false } = {}): Registry {
  const folder = mkdtempSync(join(tmpdir(), 'drover-registry-'))
  const host = `127.0.0.1:${20_000 + Math.floor(Math.random() * 30_000)}`
  const inNetwork = ['-t', readFileSync(join(dirname(socketPath), 'dockerd.pid'), 'utf8').trim(), '-n']
  const config = join(folder, 'config.yml')
  const users = join(folder, 'users')
  // crypt(3) of SECRET.
  writeFileSync(users, 'somebody:$2y$05$abcdefghijklmnopqrstuuahZ9bNbD2rk9BfFwpoL4hxRuozwQbwe\n')
  const auth = asksForLogin ? `auth: { htpasswd: { realm: drover, path: '${users}' } }\n` : ''
  writeFileSync(
    config,
    `version: 0.1\nlog: { level: error }\nstorage: { filesystem: { rootdirectory: ${folder}/data } }\nhttp: { addr: '${host}' }\n${auth}`,
  )
  const child = spawn('nsenter', [...inNetwork, program(folder), 'serve', config], { stdio: 'ignore' })
  const until = Date.now() + 20_000
  for (;;) {
    try {
      execFileSync('nsenter', [...inNetwork, '/bin/busybox', 'nc', ...host.split(':'), '-e', '/bin/busybox', 'true'], {
        stdio: 'ignore',
      })
      break
    } catch {
      if (Date.now() > until || child.exitCode !== null) throw new Error('docker-registry did not listen')
      execFileSync('sleep', ['0.1'])
    }
  }
  const client = join(folder, 'client')
  if (asksForLogin)
    execFileSync('docker', ['--config', client, 'login', '-u', 'somebody', '--password-stdin', host], {
      input: SECRET,
      stdio: 'pipe',
    })
  return {
    host,
    logins: join(client, 'config.json'),
    push(name) {
      const tagged = `${host}/${name}`
      docker('tag', image, tagged)
      docker('--config', client, 'push', '-q', tagged)
      const byDigest = docker('inspect', '-f', '{{range .RepoDigests}}{{println .}}{{end}}', tagged)
        .split('\n')
        .find((one) => one.startsWith(host))
      docker('rmi', tagged)
      return { tagged, byDigest: byDigest ?? '' }
    },
    close() {
      child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Where it is not installed it is fetched and unpacked, and nothing of the machine changes. */
function program(folder: string): string {
  if (existsSync(INSTALLED)) return INSTALLED
  mkdirSync(join(folder, 'package'))
  execFileSync('apt-get', ['-q', 'download', 'docker-registry'], { cwd: folder, stdio: 'ignore' })
  const archive = readdirSync(folder).find((name) => name.endsWith('.deb'))
  execFileSync('dpkg', ['-x', join(folder, archive ?? ''), join(folder, 'package')])
  return join(folder, 'package', INSTALLED)
}

/** Certificate authorities of a test's own, and server certificates that they sign. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type ServerCertificate = { readonly key: string; readonly cert: string; readonly ca: string }

const EXPIRED_CA = `[ca]
default_ca = it
[it]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = root
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:TRUE
`

/** One key pair and certificate for 127.0.0.1, signed by a new CA of this name. */
export function privateCa(name: string, options: { readonly host?: string; readonly expired?: boolean } = {}): ServerCertificate {
  const folder = mkdtempSync(join(tmpdir(), 'drover-ca-'))
  const path = (file: string) => join(folder, file)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  try {
    openssl('req', '-x509', ...newKey, '-days', '3650', '-keyout', 'ca.key', '-out', 'ca.crt', '-subj', `/CN=${name}`)
    if (options.expired) {
      // Only `openssl ca` sets days that are past.
      openssl('x509', '-x509toreq', '-in', 'ca.crt', '-signkey', 'ca.key', '-out', 'ca.csr')
      writeFileSync(path('index'), '')
      writeFileSync(path('config'), EXPIRED_CA)
      const dates = ['-startdate', '20200101000000Z', '-enddate', '20200201000000Z']
      openssl(
        'ca',
        '-selfsign',
        '-batch',
        '-notext',
        '-config',
        'config',
        '-in',
        'ca.csr',
        '-keyfile',
        'ca.key',
        ...dates,
        '-out',
        'ca.crt',
      )
    }
    openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=rancher')
    writeFileSync(path('extensions'), `subjectAltName=${options.host ?? 'IP:127.0.0.1'}\nextendedKeyUsage=serverAuth\n`)
    const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'extensions']
    openssl('x509', '-req', '-in', 'server.csr', ...signing, '-days', '365', '-out', 'server.crt')
    const read = (file: string) => readFileSync(path(file), 'utf8')
    return { key: read('server.key'), cert: read('server.crt'), ca: read('ca.crt') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

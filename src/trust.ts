/** `drover trust <url>`: shows the private CA of a Rancher 2 server, proves that the server's certificate is signed by it, and keeps it in a file. */

import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import process from 'node:process'
import { readAddress } from './backends/rancher2/address.ts'
import { certificatesIn, parseFingerprint } from './backends/rancher2/fingerprint.ts'
import { offeredCa } from './backends/rancher2/reach.ts'
import { TransportError, type Transports } from './backends/transport.ts'
import { DroverError } from './core/errors.ts'

const DEADLINE_MS = 20_000

export type TrustOptions = {
  readonly url: string
  /** Where the PEM goes; default `./<host>-ca.pem`. */
  readonly out?: string | undefined
  readonly transports: Transports
  say(line: string): void
}

/** Returns what the program exits with; throws DroverError when there is nothing to trust. */
export async function trust({ url, out, transports, say }: TrustOptions): Promise<number> {
  const base = addressOf(url)
  const { host, hostname } = new URL(base)
  // The one request that is not verified: it carries no key, and what it brings has to prove itself below.
  const pem = await offeredCa(transports({ insecure: true }), base, AbortSignal.timeout(DEADLINE_MS))
  const certificates = certificatesIn(pem).map(parsed)
  if (certificates.length === 0) return await publicCa(base, host, transports, say)

  say(`${host} names ${certificates.length === 1 ? 'this CA' : `these ${certificates.length} certificates`}:`)
  for (const one of certificates) for (const line of described(one)) say(`  ${line}`)
  refuseOutdated(certificates)
  await verified(base, { ca: pem, caOnly: true }, transports, (error) =>
    refused(
      `The server’s own certificate does not verify against the CA it names (${codeOf(error)}), so the CA was not kept.`,
      'Somebody may sit between this machine and Rancher; or the setting cacerts is out of date, or the host name is not in the certificate. Ask whoever runs Rancher.',
    ),
  )
  say(`The certificate of ${host} verifies against it.`)

  const path = out ?? `./${hostname.replaceAll(/[^A-Za-z0-9.-]/g, '_')}-ca.pem`
  const fingerprints = certificates.map(fingerprintOf)
  const kept = keep(path, certificates, fingerprints, base)
  say(kept === 'new' ? `Written to ${path}.` : `${path} already holds it: nothing changed.`)
  say('')
  say('Compare the fingerprint with one that came another way, for example from the Rancher server itself:')
  say('  kubectl -n cattle-system get secret tls-ca -o jsonpath="{.data.cacerts\\.pem}" | base64 -d |')
  say('    openssl x509 -noout -fingerprint -sha256')
  say('')
  say('drover.yaml:')
  say('  backends:')
  say('    rancher:')
  say('      kind: rancher2')
  say(`      url: ${base}`)
  say(`      ca: ${path}`)
  say(`      # or, without the file: caFingerprint: ${fingerprintOf(certificates.find(isRoot) ?? certificates[0]!)}`)
  say('      token: { env: RANCHER_TOKEN }')
  return 0
}

function addressOf(url: string): string {
  const read = readAddress({ url })
  if ('problem' in read)
    throw new DroverError({
      code: 'usage',
      message: `${read.problem}.`,
      next: 'drover trust https://rancher.example.com [--out rancher-ca.pem]',
    })
  if (!read.base.startsWith('https:'))
    throw refused('Only https has a certificate to trust.', 'Give the https address of the Rancher server.')
  return read.base
}

function parsed(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw refused('What the server names as its CA is not a certificate.', 'Look at the setting cacerts in Rancher.', cause)
  }
}

/** An empty setting says that any machine's own CAs know the certificate; whether this one's do is seen by trying. */
async function publicCa(base: string, host: string, transports: Transports, say: TrustOptions['say']): Promise<number> {
  await verified(base, {}, transports, (error) =>
    refused(
      `${host} names no private CA, and yet this machine does not trust its certificate (${codeOf(error)}). Nothing was kept.`,
      'Ask whoever runs Rancher: a proxy may have put a certificate of its own before it, or the setting cacerts is missing.',
    ),
  )
  say(`${host} has a certificate that this machine trusts already, and names no CA of its own: nothing needs to be pinned.`)
  return 0
}

/** The same question again, now verified: that the answer comes at all is the proof. */
async function verified(
  base: string,
  reach: Parameters<Transports>[0],
  transports: Transports,
  untrusted: (error: TransportError) => DroverError,
): Promise<void> {
  const url = `${base}/v3/settings/cacerts`
  const headers = { accept: 'application/json', 'user-agent': 'drover' }
  try {
    await transports(reach).http({ method: 'GET', url, headers, signal: AbortSignal.timeout(DEADLINE_MS) })
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
    throw error.reason === 'tls' ? untrusted(error) : refused(`${error.message}.`, 'Try again.', error)
  }
}

function codeOf(error: TransportError): string {
  return /\(([A-Z_0-9]+)\)$/.exec(error.message)?.[1] ?? error.message
}

function described(one: X509Certificate): string[] {
  const line = (name: string) => name.replaceAll('\n', ', ')
  return [
    `subject      ${line(one.subject)}`,
    ...(isRoot(one) ? [] : [`issuer       ${line(one.issuer)}`]),
    `valid        ${one.validFromDate.toISOString().slice(0, 10)} to ${one.validToDate.toISOString().slice(0, 10)}`,
    `fingerprint  ${fingerprintOf(one)}`,
  ]
}

const isRoot = (one: X509Certificate): boolean => one.subject === one.issuer
const fingerprintOf = (one: X509Certificate): string => parseFingerprint(one.fingerprint256) ?? one.fingerprint256

function refuseOutdated(certificates: readonly X509Certificate[]): void {
  const now = Date.now()
  const one = certificates.find(({ validFromDate, validToDate }) => now < validFromDate.getTime() || now > validToDate.getTime())
  if (one)
    throw refused(
      `That certificate is ${now > one.validToDate.getTime() ? 'expired' : 'not valid yet'}, so it was not kept.`,
      'Compare the clock of this machine; if it is right, Rancher’s CA has to be renewed.',
    )
}

/** The first use pins: a file that holds another CA is never written over. */
function keep(
  path: string,
  certificates: readonly X509Certificate[],
  fingerprints: readonly string[],
  base: string,
): 'new' | 'same' {
  try {
    writeFileSync(path, certificates.map(String).join(''), { flag: 'wx', mode: 0o644 })
    return 'new'
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST')
      throw refused(
        `${path} cannot be written (${(cause as NodeJS.ErrnoException).code}).`,
        'Name another file with --out.',
        cause,
      )
  }
  const held = certificatesIn(readFileSync(path, 'utf8')).map(parsed).map(fingerprintOf)
  if (held.toSorted().join() === fingerprints.toSorted().join()) return 'same'
  throw refused(
    `${path} pins another CA, and it was left as it is.\n  pinned:  ${held.join(', ') || 'no certificate at all'}\n  offered: ${fingerprints.join(', ')}`,
    `If Rancher’s CA was really replaced (ask whoever runs it, and compare the fingerprint), move ${path} away and run this again: drover trust ${base} --out ${path}`,
  )
}

function refused(message: string, next: string, cause?: unknown): DroverError {
  return new DroverError({ code: 'backend_unavailable', message, next }, { cause })
}

/** For the command line. */
export async function main(words: readonly string[], out: string | undefined, transports: Transports): Promise<number> {
  const [url, ...rest] = words
  if (url === undefined || rest.length > 0)
    throw new DroverError({
      code: 'usage',
      message: 'trust takes one address.',
      next: 'drover trust https://rancher.example.com [--out rancher-ca.pem]',
    })
  return trust({ url, out, transports, say: (line) => void process.stdout.write(`${line}\n`) })
}

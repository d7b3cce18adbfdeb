/** SHA-256 fingerprints of certificates, as `openssl x509 -fingerprint -sha256` prints them. */

/** Undefined when the text is none. */
export function parseFingerprint(text: string): string | undefined {
  const hex = /^(?:sha-?256(?: fingerprint)?[:=]\s*)?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})$/i.exec(text.trim())?.[1]
  return hex && shape(hex.replaceAll(':', ''))
}

const shape = (hex: string) => `SHA256:${(hex.toUpperCase().match(/../g) ?? []).join(':')}`

/** One PEM for each certificate of a file of several. */
export function certificatesIn(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? []
}

/** Of one certificate in PEM; undefined when it is no base64. */
export async function fingerprintOf(pem: string): Promise<string | undefined> {
  const body = pem.replaceAll(/-----[A-Z ]+-----|\s/g, '')
  try {
    const der = Uint8Array.from(atob(body), (character) => character.charCodeAt(0))
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', der))
    return shape(Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join(''))
  } catch {
    return undefined
  }
}

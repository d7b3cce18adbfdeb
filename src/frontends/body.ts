/** Reads a body up to a cap: nothing from outside is held without a limit. */

/** The body of a request to drover. One that says how long it is has that length, or its server has refused it: it is taken whole. */
export async function readRequest(request: Request, maxBytes: number): Promise<Uint8Array<ArrayBuffer> | 'too_large'> {
  const length = request.headers.get('content-length')
  if (length !== null && Number(length) > maxBytes) return 'too_large'
  if (length === null || request.headers.has('transfer-encoding')) return await readCapped(request.body, maxBytes)
  const bytes = new Uint8Array(await request.arrayBuffer())
  return bytes.byteLength > maxBytes ? 'too_large' : bytes
}

/** The bytes, or `too_large` as soon as the cap is passed. */
export async function readCapped(
  stream: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer> | 'too_large'> {
  if (stream === null) return new Uint8Array()
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.byteLength
    if (size > maxBytes) {
      await reader.cancel().catch(() => {})
      return 'too_large'
    }
    chunks.push(value)
  }
  const whole = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.byteLength
  }
  return whole
}

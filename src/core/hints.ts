/** Which of many fixed texts a stream of text holds, in one pass over it, however many they are (Aho and Corasick, 1975). */

export type Hints = {
  /** A look at a text that may come in pieces: what is split over two of them is found with the second. */
  look(): Look
}

export type Look = {
  /** What the text holds: the bits of all hints that it has. */
  text(text: string): number
  /** The same for ASCII that needs nothing done to it (printable, tabs, line ends); undefined when it is not that: then nothing was looked at. */
  plain(data: Uint8Array): number | undefined
}

/** Capital and small letters are one. `bits`: what finding the hint adds. */
export function createHints(hints: readonly { readonly text: string; readonly bits: number }[]): Hints {
  // Characters that no hint has are one class, 0; those beyond ASCII another, 1.
  const classOf = new Uint8Array(128)
  let classes = 2
  const lower = hints.map(({ text, bits }) => ({
    codes: Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)),
    bits,
  }))
  for (const code of lower.flatMap(({ codes }) => codes)) {
    if (code < 128 && classOf[small(code)] === 0) classOf[small(code)] = classes++
  }
  for (let code = 0; code < 128; code++) classOf[code] = classOf[small(code)]!
  const classIn = (code: number) => (code < 128 ? classOf[code]! : 1)

  const children: Map<number, number>[] = [new Map()]
  const found: number[] = [0]
  for (const { codes, bits } of lower) {
    let node = 0
    for (const code of codes) {
      let next = children[node]!.get(classIn(code))
      if (next === undefined) {
        next = children.push(new Map()) - 1
        found.push(0)
        children[node]!.set(classIn(code), next)
      }
      node = next
    }
    found[node]! |= bits
  }

  // `next[state + class]` is the next state; a state is its row's place, so that a step is one addition and one look.
  const next = new Uint32Array(children.length * classes)
  const fallback = new Uint32Array(children.length)
  const queue = [0]
  for (const node of queue) {
    const behind = fallback[node]!
    found[node]! |= found[behind]!
    for (let one = 0; one < classes; one++) {
      const child = children[node]!.get(one)
      const other = node === 0 ? 0 : next[behind * classes + one]! / classes
      next[node * classes + one] = (child ?? other) * classes
      if (child === undefined) continue
      fallback[child] = other
      queue.push(child)
    }
  }
  const bitsAt = new Uint32Array(next.length)
  found.forEach((bits, node) => {
    bitsAt[node * classes] = bits
  })
  const plainClass = new Uint8Array(256).fill(notPlain)
  for (let code = 32; code < 127; code++) plainClass[code] = classOf[code]!
  for (const code of [9, 10]) plainClass[code] = classOf[code]!

  return {
    look() {
      let state = 0
      return {
        text(text) {
          let at = state
          let bits = 0
          for (let i = 0; i < text.length; i++) {
            const code = text.charCodeAt(i)
            at = next[at + (code < 128 ? classOf[code]! : 1)]!
            bits |= bitsAt[at]!
          }
          state = at
          return bits
        },
        plain(data) {
          let at = state
          let bits = 0
          for (let i = 0; i < data.length; i++) {
            const one = plainClass[data[i]!]!
            if (one === notPlain) return undefined
            at = next[at + one]!
            bits |= bitsAt[at]!
          }
          state = at
          return bits
        },
      }
    },
  }
}

const notPlain = 255
const small = (code: number) => (code >= 65 && code <= 90 ? code + 32 : code)

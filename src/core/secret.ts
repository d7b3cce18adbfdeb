/** What must not be shown, as a value that cannot be by mistake. */

/** A value that prints as nothing: only `reveal` gives it out, at the edge that needs it. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  reveal(): string {
    return this.#value
  }
  toString(): string {
    return '[secret]'
  }
  toJSON(): string {
    return '[secret]'
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]'
  }
  [Symbol.for('Deno.customInspect')](): string {
    return '[secret]'
  }
}

/** What a backend may ask of the machine that drover runs on. Workers has none: what needs one is refused there at start-up. */

export interface Machine {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The home directory of the user that drover runs as. */
  readonly home: string
  /** The text of a file; undefined when there is none. Throws DroverError `config` when it may not be read or is larger than 4 MiB. */
  readText(path: string): Promise<string | undefined>
  /**
   * Runs a program, never through a shell, with this environment and no other, and returns what it did. Throws DroverError
   * `config` when it cannot be started, `timeout` when `signal` aborts; then it is killed. Output over 1 MiB is an error.
   */
  run(
    argv: readonly [string, ...string[]],
    options: { readonly env: Readonly<Record<string, string>>; readonly signal: AbortSignal; readonly stdin?: string },
  ): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>
}

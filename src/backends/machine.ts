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

/** Named pipes in a folder of their own that only drover's user may enter: what an engine beside it reads and writes by path. */
export interface NamedPipes {
  path(name: string): string
  /** Is open for reading when it settles, so that nothing written from then on is lost. What is not pulled is not read. */
  read(name: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  /** Opens it for writing as soon as somebody has it open for reading. */
  write(name: string, signal: AbortSignal): Promise<PipeWriter>
  /** The engine has opened its sides: the folder goes, what is open stays open. */
  handedOver(): void
  /** Ends what is open, and the folder goes. Never throws. */
  close(): void
}

export type PipeWriter = {
  /** Settles when all of it was taken. A reader that ends early is no error. */
  send(data: Uint8Array): Promise<void>
  end(): void
}

/** Below `folder`, or where the system keeps such things. Throws DroverError `config` when that cannot be. */
export type MakePipes = (names: readonly string[], folder: string | undefined, signal: AbortSignal) => Promise<NamedPipes>

/** The cgroups of every process of the machine, by pid, as /proc tells them; undefined where drover does not see the machine's own processes. */
export type ReadCgroups = () => Promise<ReadonlyMap<number, string> | undefined>

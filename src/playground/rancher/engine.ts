/** What really runs the commands of a pretend Rancher host: the port that each engine of the playground and the tests fills in. */

/** What an engine is told about the container it runs a command in. */
export type EngineContainer = {
  readonly name: string
  /** 64 hex digits, as Docker gives them. */
  readonly engineId: string
  readonly hostname: string
  /** Host id, `1h1`. */
  readonly host: string
  readonly labels: Readonly<Record<string, string>>
  readonly image: string
  /** False for an image made "FROM scratch": there is no shell in it. */
  readonly shell: boolean
}

export type EngineSpec = { readonly argv: readonly string[]; readonly tty: boolean; readonly stdin: boolean }

export type PeerProcess = {
  /** At most one callback; set right after `exec` returns. With a tty everything is `stdout`, with CRLF. */
  onOutput(callback: (stream: 'stdout' | 'stderr', data: Uint8Array) => void): void
  /** Settles when the process (or the pipe to it) took the bytes; never rejects. */
  write(data: Uint8Array): Promise<void>
  /** End of stdin; without effect on a tty. */
  endInput(): void
  resize(columns: number, rows: number): void
  /** Stops and restarts the flow of `onOutput`. */
  pause(): void
  resume(): void
  /** Ends it the hard way, as when its container is killed. */
  kill(): void
  /** After it settles there is no more output. `startError` is the engine's own text, to be shown as output. Never rejects. */
  readonly ended: Promise<PeerEnd>
}

export type PeerEnd = { readonly code: number } | { readonly startError: string }

export type PeerEngine = {
  exec(container: EngineContainer, spec: EngineSpec): PeerProcess
  /** The container came to be or began to run again. */
  started?(container: EngineContainer): Promise<void>
  /** The container was stopped, or removed for good. Its processes were told to end before. */
  stopped?(container: EngineContainer, removed: boolean): Promise<void>
  close(): Promise<void>
}

/** Docker 20.10's text for an executable that cannot be started, as recorded; it reaches the client as ordinary output. */
export function startErrorText(executable: string, why: 'missing' | 'not-executable' = 'missing'): string {
  const reason =
    why === 'not-executable'
      ? 'permission denied'
      : executable.includes('/')
        ? `stat ${executable}: no such file or directory`
        : 'executable file not found in $PATH'
  return `OCI runtime exec failed: exec failed: unable to start container process: exec: "${executable}": ${reason}: unknown\r\n`
}

/** What an image without a shell lacks: engines that run real programs refuse these in its place. */
export function isShell(file: string): boolean {
  return /^(?:\/(?:usr\/)?bin\/)?(?:ba|a|da)?sh$/.test(file)
}

/** A process that never was: the engine refused to start it. */
export function neverStarted(startError: string): PeerProcess {
  return {
    onOutput() {},
    write: () => Promise.resolve(),
    endInput() {},
    resize() {},
    pause() {},
    resume() {},
    kill() {},
    ended: Promise.resolve({ startError }),
  }
}

/** What a kernel terminal does between a client and a program: echo, lines, end of file, CRLF. Enough of it for simulated programs. */

export type Terminal = {
  /** Bytes from the keyboard. */
  type(data: Uint8Array): void
  /** Bytes from the program, as they leave the terminal. */
  print(data: Uint8Array): Uint8Array
}

export function createTerminal(program: {
  line(data: Uint8Array): void
  endOfFile(): void
  interrupt(): void
  echo(data: Uint8Array): void
}): Terminal {
  let pending: number[] = []
  const give = (): void => {
    program.line(Uint8Array.from(pending))
    pending = []
  }
  const print = (data: Uint8Array): Uint8Array => {
    const all: number[] = []
    for (const byte of data) {
      if (byte === 0x0a) all.push(0x0d)
      all.push(byte)
    }
    return Uint8Array.from(all)
  }
  return {
    print,
    type(data) {
      const echoed: number[] = []
      for (const typed of data) {
        const byte = typed === 0x0d ? 0x0a : typed
        if (byte === 0x04) {
          if (pending.length === 0) program.endOfFile()
          else give()
        } else if (byte === 0x03) {
          echoed.push(0x5e, 0x43)
          pending = []
          program.interrupt()
        } else if (byte === 0x7f) {
          if (pending.pop() !== undefined) echoed.push(0x08, 0x20, 0x08)
        } else {
          // A real one holds 4096 bytes of a line and drops the rest.
          if (pending.length < 4095 || byte === 0x0a) pending.push(byte)
          echoed.push(byte)
          if (byte === 0x0a) give()
        }
      }
      if (echoed.length > 0) program.echo(print(Uint8Array.from(echoed)))
    },
  }
}

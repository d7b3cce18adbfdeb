/**
 * The default engine: a simulated shell in simulated containers. Nothing real runs.
 * just-bash gives output only when a command is through, so only `LIVE` programs write while they run.
 */

import { type EngineContainer, neverStarted, type PeerEnd, type PeerEngine, type PeerProcess, startErrorText } from './engine.ts'
import { createInput } from './simulated-input.ts'
import { createMachine, type Machine, type MachineProcess } from './simulated-machine.ts'
import { run, type SimulatedIo } from './simulated-shell.ts'
import { createTerminal } from './terminal.ts'

export function simulatedEngine(): PeerEngine {
  const machines = new Map<string, Machine>()
  const machineOf = (container: EngineContainer): Machine => {
    const known = machines.get(container.engineId)
    if (known) return known
    const machine = createMachine(container)
    machines.set(container.engineId, machine)
    return machine
  }
  return {
    exec(container, spec) {
      const [file = ''] = spec.argv
      // All that is in such an image is its own program.
      if (!container.shell && file !== '/app') return neverStarted(startErrorText(file))
      return start(machineOf(container), spec)
    },
    async stopped(container, removed) {
      const machine = machines.get(container.engineId)
      machine?.endAll()
      if (removed) machines.delete(container.engineId)
    },
    async close() {
      for (const machine of machines.values()) machine.endAll()
      machines.clear()
    },
  }
}

function start(machine: Machine, spec: { argv: readonly string[]; tty: boolean; stdin: boolean }): PeerProcess {
  let output: (stream: 'stdout' | 'stderr', data: Uint8Array) => void = () => {}
  let resume: (() => void) | undefined
  let paused: Promise<void> | undefined
  let running: MachineProcess | undefined
  let killed = false
  const input = createInput()
  if (!spec.stdin && !spec.tty) input.end()

  const emit = async (stream: 'stdout' | 'stderr', data: Uint8Array): Promise<void> => {
    output(stream, data)
    await paused
  }
  const terminal = createTerminal({
    line: (data) => input.push(data),
    endOfFile: () => input.end(),
    interrupt: () => running && machine.signal(-running.group, 2),
    echo: (data) => output('stdout', data),
  })
  const io: SimulatedIo = {
    input,
    tty: spec.tty,
    out: (stream, data) => (spec.tty ? emit('stdout', terminal.print(data)) : emit(stream, data)),
  }
  const ended = (async (): Promise<PeerEnd> => {
    const environ = {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      HOSTNAME: machine.container.hostname,
      HOME: '/root',
      ...(spec.tty ? { TERM: 'xterm' } : {}),
    }
    running = await machine.spawn(spec.argv, undefined, environ)
    if (killed) running.controller.abort()
    try {
      return await run(machine, running, spec.argv, io)
    } finally {
      await machine.reap(running)
    }
  })()

  return {
    onOutput(callback) {
      output = callback
    },
    async write(data) {
      if (spec.tty) terminal.type(data)
      else input.push(data)
    },
    endInput() {
      if (!spec.tty) input.end()
    },
    resize() {},
    pause() {
      paused ??= new Promise((resolve) => {
        resume = resolve
      })
    },
    resume() {
      resume?.()
      paused = undefined
    },
    kill() {
      killed = true
      if (running) machine.endGroup(running.group)
    },
    ended,
  }
}

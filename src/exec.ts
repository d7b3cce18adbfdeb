/** `drover/exec`: run commands in containers from a program. Nothing of policy, chat or ledger is behind it. */

export type { Command, ExecOptions } from './exec/command.ts'
export {
  type Capability,
  type DockerOptions,
  docker,
  type Engine,
  type Mount,
  type NewContainer,
  type RunningContainer,
} from './exec/engines.ts'
export { ExitError, type Left, StartError, StoppedError, type StopReason, UnknownError, UsageError } from './exec/errors.ts'
export { exec } from './exec/exec.ts'
export { type ContainerdOptions, containerd, type KubernetesOptions, kubernetes, over } from './exec/others.ts'
export type { Bytes, Input } from './exec/streams.ts'

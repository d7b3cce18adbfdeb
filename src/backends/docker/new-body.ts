/** What Docker is asked for when a container is made for one command: the command alone, within an administrator's bounds. */

import type { NewContainer } from '../../core/model.ts'
import type { Mounts } from '../wire/mounts.ts'
import { bytesOf, DEADLINE_LABEL, EXEC_LABEL, HELPER_LABEL, TMP_OPTIONS } from '../wire/new-container.ts'
import { MARKER } from './exec.ts'
import { inputOf } from './input.ts'
import type { What } from './new-container.ts'
import type { DockerBounds } from './settings.ts'

/** `deadline`: in ms since 1970. */
export function containerBody(bounds: DockerBounds, what: What, deadline: number): object {
  const { creates, command, exec } = what
  const stdin = inputOf(what) !== undefined
  const memory = creates.memoryBytes ?? bytesOf(bounds.memory)
  return {
    Image: creates.image,
    // All of argv, so that no entrypoint of the image stands before what was judged.
    Entrypoint: command.argv,
    Cmd: [],
    // Nor does the engine run anything of the image's own beside it.
    Healthcheck: { Test: ['NONE'] },
    Env: Object.entries({ ...command.env, [MARKER]: exec }).map(([name, value]) => `${name}=${value}`),
    Tty: command.tty ?? false,
    AttachStdin: stdin,
    OpenStdin: stdin,
    StdinOnce: stdin,
    AttachStdout: true,
    AttachStderr: true,
    ...(command.dir === undefined ? {} : { WorkingDir: command.dir }),
    ...(command.user === undefined ? {} : { User: command.user }),
    Labels: { [HELPER_LABEL]: 'new', [EXEC_LABEL]: exec, [DEADLINE_LABEL]: String(deadline) },
    HostConfig: {
      NetworkMode: creates.network ?? 'none',
      Memory: memory,
      // The same: no swap beside it.
      MemorySwap: memory,
      NanoCpus: Math.round((creates.cpus ?? bounds.cpus) * 1e9),
      PidsLimit: bounds.processes,
      Init: true,
      SecurityOpt: ['no-new-privileges'],
      Mounts: mountsBody(bounds.mounts, creates.mounts),
      ...confinementBody(bounds, creates),
      // What it writes is drover's to keep.
      LogConfig: { Type: 'none' },
    },
  }
}

function confinementBody({ capabilities, readOnly, disk, mounts }: DockerBounds, creates: NewContainer): object {
  // What is mounted there takes its place.
  const hasTmp = (creates.mounts ?? []).some((name) => mounts?.[name]?.target.replace(/\/+$/, '') === '/tmp')
  return {
    ...(capabilities === undefined ? {} : { CapDrop: ['ALL'], CapAdd: capabilities }),
    ...(readOnly ? { ReadonlyRootfs: true } : {}),
    ...(readOnly && !hasTmp ? { Tmpfs: { '/tmp': TMP_OPTIONS.join(',') } } : {}),
    ...(disk === undefined ? {} : { StorageOpt: { size: disk } }),
  }
}

/** As the engine takes them. It makes no folder that is missing, and what is mounted below a read-only one is not seen. */
function mountsBody(mounts: Mounts = {}, names: readonly string[] = []): readonly object[] {
  return names.flatMap((name) => {
    const mount = mounts[name]
    if (!mount) return []
    const isReadOnly = mount.writable !== true
    const isBind = mount.source.startsWith('/')
    const options = { BindOptions: { Propagation: 'rprivate', NonRecursive: isReadOnly } }
    const common = { Source: mount.source, Target: mount.target, ReadOnly: isReadOnly }
    return [isBind ? { Type: 'bind', ...common, ...options } : { Type: 'volume', ...common }]
  })
}

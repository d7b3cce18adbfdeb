/** Linux capabilities: those with which a container is as good as root on its host, and those that engines give it by themselves; one list for every kind of engine (S45). */

/** capabilities(7): the kernel's modules, memory, programs and disks; other processes; and any file by its handle. */
const STRONG = ['ALL', 'SYS_ADMIN', 'SYS_MODULE', 'SYS_RAWIO', 'SYS_PTRACE', 'DAC_READ_SEARCH', 'BPF']

/** Engines take the names in any case, with `CAP_` before them or without (moby oci/caps, containerd pkg/cri/opts). */
export function isStrongCapability(name: string): boolean {
  return STRONG.includes(name.toUpperCase().replace(/^CAP_/, ''))
}

/** What Docker and containerd leave the root of a container by themselves (moby oci/caps/defaults.go, containerd oci/spec.go). */
export const USUAL_CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
] as const

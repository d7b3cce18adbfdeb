/** Linux capabilities with which a container is as good as root on its host: one list for every kind of engine (S45). */

/** capabilities(7): the kernel's modules, memory, programs and disks; other processes; and any file by its handle. */
const STRONG = ['ALL', 'SYS_ADMIN', 'SYS_MODULE', 'SYS_RAWIO', 'SYS_PTRACE', 'DAC_READ_SEARCH', 'BPF']

/** Engines take the names in any case, with `CAP_` before them or without (moby oci/caps, containerd pkg/cri/opts). */
export function isStrongCapability(name: string): boolean {
  return STRONG.includes(name.toUpperCase().replace(/^CAP_/, ''))
}

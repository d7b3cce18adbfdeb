/** System calls that a container made for one command is refused: those that Docker's page on seccomp names as significant, and their later kin. */

/** CLONE_NEWNS, …CGROUP, …UTS, …IPC, …USER, …PID, …NET of clone(2): with namespaces of its own a process gets at more of the kernel. */
const NEW_NAMESPACES = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]

/** Not an allow list as Docker's: what is not named here is the kernel's to judge, and a program of tomorrow runs. */
const REFUSED = [
  // The kernel itself: modules, another kernel, its keys, its programs, its log of performance.
  ...['create_module', 'delete_module', 'finit_module', 'init_module', 'get_kernel_syms', 'query_module', 'kexec_file_load'],
  ...['kexec_load', 'bpf', 'perf_event_open', 'userfaultfd', 'add_key', 'keyctl', 'request_key', 'lookup_dcookie', 'kcmp'],
  ...['io_uring_setup', 'io_uring_enter', 'io_uring_register', 'fanotify_init', 'syslog'],
  // The machine: clocks, swap, quotas, accounting, ports, an end.
  ...['clock_adjtime', 'clock_adjtime64', 'clock_settime', 'clock_settime64', 'settimeofday', 'stime', 'acct'],
  ...['reboot', 'swapon', 'swapoff', 'quotactl', 'quotactl_fd', 'ioperm', 'iopl', 'nfsservctl', 'vhangup', '_sysctl', 'sysfs'],
  ...['uselib', 'ustat', 'vm86', 'vm86old', 'sethostname', 'setdomainname'],
  // File systems and namespaces: ways out of its own.
  ...['mount', 'umount', 'umount2', 'pivot_root', 'move_mount', 'open_tree', 'fsopen', 'fsconfig', 'fsmount', 'fspick'],
  ...['mount_setattr', 'setns', 'unshare', 'name_to_handle_at', 'open_by_handle_at'],
  // Other processes, and where memory lies.
  ...['process_vm_readv', 'process_vm_writev', 'pidfd_getfd', 'get_mempolicy', 'set_mempolicy', 'mbind', 'move_pages'],
  ...['migrate_pages', 'set_mempolicy_home_node'],
]
const EPERM = 1
const ENOSYS = 38

/** Where no others are named, runc takes the machine's own. */
const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  amd64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
}

/** The runtime spec's `linux.seccomp`; names that libseccomp does not know, runc passes over. */
export function seccompFor(architecture: string): object {
  const architectures = ARCHITECTURES[architecture]
  return {
    defaultAction: 'SCMP_ACT_ALLOW',
    ...(architectures ? { architectures } : {}),
    syscalls: [
      { names: REFUSED, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
      ...NEW_NAMESPACES.map((flag) => ({
        names: ['clone'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: EPERM,
        args: [{ index: 0, value: flag, valueTwo: flag, op: 'SCMP_CMP_MASKED_EQ' }],
      })),
      // Its flags lie in memory, where a filter cannot look: programs fall back to clone.
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    ],
  }
}

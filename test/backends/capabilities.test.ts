/** Rights over the host by capability: the same on every kind of engine. */

import { expect, test } from 'vitest'
import { isPrivileged as dockerPrivileged, Inspected } from '../../src/backends/docker/container.ts'
import { isStrong as podPrivileged } from '../../src/backends/kubernetes/workload.ts'
import { isStrong as rancherPrivileged } from '../../src/backends/rancher1/service.ts'

const told = (capability: string) => ({
  docker: dockerPrivileged(Inspected.parse({ State: { Running: true }, HostConfig: { CapAdd: [capability] } })),
  kubernetes: podPrivileged({ containers: [{ name: 'a', securityContext: { capabilities: { add: [capability] } } }] }),
  rancher1: rancherPrivileged({ capAdd: [capability] }),
})

test.each(['ALL', 'all', 'SYS_ADMIN', 'cap_sys_admin', 'CAP_SYS_MODULE', 'SYS_RAWIO', 'SYS_PTRACE', 'DAC_READ_SEARCH', 'BPF'])(
  'S45 %s makes a container privileged, wherever it runs',
  (capability) => {
    expect(told(capability)).toEqual({ docker: true, kubernetes: true, rancher1: true })
  },
)

test.each(['NET_ADMIN', 'NET_BIND_SERVICE', 'CHOWN', 'ALLOW'])('%s does not', (capability) => {
  expect(told(capability)).toEqual({ docker: false, kubernetes: false, rancher1: false })
})

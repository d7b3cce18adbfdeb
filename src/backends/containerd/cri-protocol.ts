/** The part of Kubernetes' Container Runtime Interface that drover speaks, as protobuf descriptors of its own: names and numbers are the wire's. */

import { inside, message, service, unary } from './protocol.ts'

/** cri-api, pkg/apis/runtime/v1/api.proto; the same from Kubernetes 1.20 (containerd 1.6, CRI-O 1.20) on. */
export const criProtocol = {
  nested: inside('runtime', {
    ...inside('v1', {
      VersionRequest: message({ version: 'string 1' }),
      Version: message({ runtimeName: 'string 2', runtimeVersion: 'string 3' }),
      ImageSpec: message({ image: 'string 1' }),
      StateValue: message({ state: 'uint32 1' }),
      ContainerFilter: message({ state: 'StateValue 2' }),
      ListContainersRequest: message({ filter: 'ContainerFilter 1' }),
      Container: message({ id: 'string 1', podSandboxId: 'string 2', state: 'uint32 6', labels: 'labels 8' }),
      ListedContainers: message({ containers: 'repeated Container 1' }),
      ListPodSandboxRequest: message({}),
      PodSandbox: message({ id: 'string 1', state: 'uint32 3', labels: 'labels 5' }),
      ListedPodSandboxes: message({ items: 'repeated PodSandbox 1' }),
      ContainerStatusRequest: message({ containerId: 'string 1', verbose: 'bool 2' }),
      Status: message({ state: 'uint32 3', image: 'ImageSpec 8' }),
      ContainerStatus: message({ status: 'Status 1', info: 'labels 2' }),
      PodSandboxStatusRequest: message({ podSandboxId: 'string 1', verbose: 'bool 2' }),
      PodSandboxStatus: message({ info: 'labels 2' }),
      ExecRequest: message({
        containerId: 'string 1',
        cmd: 'repeated string 2',
        tty: 'bool 3',
        stdin: 'bool 4',
        stdout: 'bool 5',
        stderr: 'bool 6',
      }),
      ExecAnswer: message({ url: 'string 1' }),
      RuntimeService: service({
        Version: unary('VersionRequest', 'Version'),
        ListContainers: unary('ListContainersRequest', 'ListedContainers'),
        ListPodSandbox: unary('ListPodSandboxRequest', 'ListedPodSandboxes'),
        ContainerStatus: unary('ContainerStatusRequest', 'ContainerStatus'),
        PodSandboxStatus: unary('PodSandboxStatusRequest', 'PodSandboxStatus'),
        Exec: unary('ExecRequest', 'ExecAnswer'),
      }),
    }),
  }),
}

/** ContainerState. */
export const CONTAINER_RUNNING = 1

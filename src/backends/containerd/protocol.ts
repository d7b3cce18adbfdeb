/** The part of containerd's gRPC interface that drover speaks, as protobuf descriptors of its own: names and numbers are the wire's, nothing else matters there. */

/** `<type> <number>`, `repeated <type> <number>` or `labels <number>`, which is a map of strings. */
type Fields = Readonly<Record<string, string>>

export function message(fields: Fields) {
  return { fields: Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, field(text)])) }
}

function field(text: string) {
  const [id = '', type = '', rule] = text.split(' ').reverse()
  if (type === 'labels') return { keyType: 'string', type: 'string', id: Number(id) }
  return { type, id: Number(id), ...(rule === undefined ? {} : { rule }) }
}

type Method = { readonly requestType: string; readonly responseType: string; readonly responseStream?: true }
export const service = (methods: Readonly<Record<string, Method>>) => ({ methods })
export const unary = (requestType: string, responseType: string): Method => ({ requestType, responseType })
export const inside = (name: string, nested: object) => ({ [name]: { nested } })

/** Fields and numbers: containerd api v1, services/{tasks,containers,images,content,snapshots,leases,introspection,version,namespaces}/v1 and types; the same in 1.6 and 1.7. */
export const protocol = {
  nested: inside('containerd', {
    Empty: message({}),
    /** google.protobuf.Any; under its own name protobufjs would try to look inside. */
    Document: message({ typeUrl: 'string 1', value: 'bytes 2' }),
    ProcessId: message({ containerId: 'string 1', execId: 'string 2' }),
    Process: message({ containerId: 'string 1', id: 'string 2', pid: 'uint32 3', status: 'uint32 4', exitStatus: 'uint32 9' }),
    GotProcess: message({ process: 'Process 1' }),
    Filter: message({ filter: 'string 1' }),
    ListedTasks: message({ tasks: 'repeated Process 1' }),
    ExecProcess: message({
      containerId: 'string 1',
      stdin: 'string 2',
      stdout: 'string 3',
      stderr: 'string 4',
      terminal: 'bool 5',
      spec: 'Document 6',
      execId: 'string 7',
    }),
    Started: message({ pid: 'uint32 1' }),
    Waited: message({ exitStatus: 'uint32 1' }),
    Deleted: message({ exitStatus: 'uint32 3' }),
    Kill: message({ containerId: 'string 1', execId: 'string 2', signal: 'uint32 3', all: 'bool 4' }),
    CloseIO: message({ containerId: 'string 1', execId: 'string 2', stdin: 'bool 3' }),
    ProcessInfo: message({ pid: 'uint32 1', info: 'Document 2' }),
    ListedPids: message({ processes: 'repeated ProcessInfo 1' }),
    Runtime: message({ name: 'string 1' }),
    Container: message({
      id: 'string 1',
      labels: 'labels 2',
      image: 'string 3',
      runtime: 'Runtime 4',
      spec: 'Document 5',
      snapshotter: 'string 6',
      snapshotKey: 'string 7',
    }),
    ContainerId: message({ id: 'string 1' }),
    OneContainer: message({ container: 'Container 1' }),
    Filters: message({ filters: 'repeated string 1' }),
    Versions: message({ version: 'string 1', revision: 'string 2' }),
    Namespace: message({ name: 'string 1', labels: 'labels 2' }),
    ListedNamespaces: message({ namespaces: 'repeated Namespace 1' }),
    Mount: message({ type: 'string 1', source: 'string 2', target: 'string 3', options: 'repeated string 4' }),
    NewTask: message({
      containerId: 'string 1',
      rootfs: 'repeated Mount 3',
      stdin: 'string 4',
      stdout: 'string 5',
      stderr: 'string 6',
      terminal: 'bool 7',
    }),
    MadeTask: message({ pid: 'uint32 2' }),
    NewSnapshot: message({ snapshotter: 'string 1', key: 'string 2', parent: 'string 3', labels: 'labels 4' }),
    Mounts: message({ mounts: 'repeated Mount 1' }),
    SnapshotKey: message({ snapshotter: 'string 1', key: 'string 2' }),
    NewLease: message({ id: 'string 1', labels: 'labels 3' }),
    LeaseId: message({ id: 'string 1' }),
    Descriptor: message({ mediaType: 'string 1', digest: 'string 2' }),
    Image: message({ name: 'string 1', target: 'Descriptor 3' }),
    ImageName: message({ name: 'string 1' }),
    OneImage: message({ image: 'Image 1' }),
    ListedImages: message({ images: 'repeated Image 1' }),
    Blob: message({ digest: 'string 1' }),
    BlobPiece: message({ data: 'bytes 2' }),
    Platform: message({ os: 'string 1', architecture: 'string 2', variant: 'string 3' }),
    Status: message({ code: 'int32 1', message: 'string 2' }),
    Plugin: message({ type: 'string 1', id: 'string 2', platforms: 'repeated Platform 4', initErr: 'Status 7' }),
    ListedPlugins: message({ plugins: 'repeated Plugin 1' }),
    ...inside('services', {
      ...inside('tasks', {
        ...inside('v1', {
          Tasks: service({
            List: unary('Filter', 'ListedTasks'),
            Create: unary('NewTask', 'MadeTask'),
            Delete: unary('ContainerId', 'Deleted'),
            Get: unary('ProcessId', 'GotProcess'),
            Exec: unary('ExecProcess', 'Empty'),
            Start: unary('ProcessId', 'Started'),
            Wait: unary('ProcessId', 'Waited'),
            Kill: unary('Kill', 'Empty'),
            CloseIO: unary('CloseIO', 'Empty'),
            ListPids: unary('ProcessId', 'ListedPids'),
            DeleteProcess: unary('ProcessId', 'Deleted'),
          }),
        }),
      }),
      ...inside('containers', {
        ...inside('v1', {
          Containers: service({
            Get: unary('ContainerId', 'OneContainer'),
            Create: unary('OneContainer', 'OneContainer'),
            Delete: unary('ContainerId', 'Empty'),
            ListStream: { ...unary('Filters', 'OneContainer'), responseStream: true },
          }),
        }),
      }),
      ...inside('images', {
        ...inside('v1', { Images: service({ Get: unary('ImageName', 'OneImage'), List: unary('Filters', 'ListedImages') }) }),
      }),
      ...inside('content', {
        ...inside('v1', { Content: service({ Read: { ...unary('Blob', 'BlobPiece'), responseStream: true } }) }),
      }),
      ...inside('snapshots', {
        ...inside('v1', {
          Snapshots: service({ Prepare: unary('NewSnapshot', 'Mounts'), Remove: unary('SnapshotKey', 'Empty') }),
        }),
      }),
      ...inside('leases', {
        ...inside('v1', { Leases: service({ Create: unary('NewLease', 'Empty'), Delete: unary('LeaseId', 'Empty') }) }),
      }),
      ...inside('introspection', {
        ...inside('v1', { Introspection: service({ Plugins: unary('Filters', 'ListedPlugins') }) }),
      }),
      ...inside('version', { ...inside('v1', { Version: service({ Version: unary('Empty', 'Versions') }) }) }),
      ...inside('namespaces', { ...inside('v1', { Namespaces: service({ List: unary('Filter', 'ListedNamespaces') }) }) }),
    }),
  }),
}

/** types/task: Status. */
export const taskStatus = { created: 1, running: 2, stopped: 3, paused: 4, pausing: 5 } as const

/** What only a real cluster can say: its RBAC, its certificates, a kubelet that dies, pods that go, and drover's own command line on it. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type KubernetesOptions, kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import type { BackendError } from '../../src/core/errors.ts'
import type { ExecEvent, Target } from '../../src/core/model.ts'
import { matches } from '../../src/core/selector.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import { RUNTIMES } from '../runtime/kubernetes-runtimes.ts'
import { apply, cluster, connectAs, kubectl, kubeletOf, pod, processesInside, type Who } from './kubernetes-cluster.ts'

const soon = () => AbortSignal.timeout(30_000)
const doors = { v4: cluster.url, v5: cluster.v5Url } as const
const backendAs = (who: Who, server: string = cluster.url, options: Partial<KubernetesOptions> = {}) =>
  kubernetesOver(connectAs(who, server), { name: 'kube', ...options })

let web: Target
let all: readonly Target[]
beforeAll(async () => {
  all = await backendAs('exec').list({}, soon())
  web = all.find(({ labels }) => labels.app === 'web')!
})

describe('RBAC', () => {
  test('S40 half of the exec right: `get` alone runs on this old server, `create` alone is refused with the right that lacks', async () => {
    expect((await runOn(backendAs('getOnly'), web, { argv: ['true'] })).code).toBe(0)
    for (const server of [cluster.url, cluster.v5Url]) {
      const refused = await failureOf(runOn(backendAs('createOnly', server), web, { argv: ['true'] }))
      expect([refused.code, refused.ran]).toEqual(['backend_forbidden', 'no'])
    }
    expect((await failureOf(runOn(backendAs('createOnly'), web, { argv: ['true'] }))).message).toContain(
      'User "create-only-user" cannot get resource "pods/exec"',
    )
  })

  test('who may nothing is refused at the list, and who is nobody by the token', async () => {
    expect((await failureOf(backendAs('none').list({}, soon()))).message).toContain(
      'User "no-rights-user" cannot list resource "pods"',
    )
    const nobody = { ...connectAs('exec'), headers: async () => ({ authorization: 'Bearer nobody-knows-me' }) }
    expect((await failureOf(kubernetesOver(nobody, { name: 'kube' }).list({}, soon()))).code).toBe('backend_unauthorized')
    const upgrade = await failureOf(runOn(kubernetesOver(nobody, { name: 'kube' }), web, { argv: ['true'] }))
    expect([upgrade.code, upgrade.ran]).toEqual(['backend_unauthorized', 'no'])
  })

  test('S40 check says of each what they lack, and its Role is one that the server takes', async () => {
    const bad = async (who: Who) =>
      (await backendAs(who).check(soon())).filter(({ ok, what }) => ok !== true && !what.includes('rollouts'))
    expect(await bad('exec')).toEqual([])
    expect((await bad('getOnly')).map(({ ok, what }) => [ok, what])).toEqual([
      ['warn', 'drover may not create pods/exec in namespace drover, which API servers want from 1.35 on'],
    ])
    expect((await bad('createOnly')).map(({ ok, what }) => [ok, what])).toEqual([
      [false, 'drover may not get pods/exec in namespace drover'],
    ])
    const [line] = await bad('none')
    expect(line?.ok).toBe(false)
    const dir = folder()
    const yaml = line!
      .next!.slice(line!.next!.indexOf('apiVersion:'))
      .replaceAll('THE-USER-THAT-DROVER-COMES-AS', 'no-rights-user')
    writeFileSync(
      join(dir, 'role.yaml'),
      yaml.replaceAll('name: drover,', 'name: drover-check,').replaceAll('name: drover}', 'name: drover-check}'),
    )
    await kubectl('apply', '-f', join(dir, 'role.yaml'))
    try {
      await expect.poll(() => bad('none'), { timeout: 10_000 }).toEqual([])
      expect((await runOn(backendAs('none'), web, { argv: ['true'] })).code).toBe(0)
    } finally {
      await kubectl('delete', '-f', join(dir, 'role.yaml'))
    }
  })

  test('in the name of who asked: the cluster’s own RBAC names the person', async () => {
    const settings = { kubeconfig: cluster.kubeconfig, impersonate: 'actor' } as const
    const backend = kubernetes('kube', settings, { transport: nodeTransport, files: filesOf(nodeMachine()) })
    const by = { kind: 'slack-user', team: 'T1', user: 'U1' } as const
    const refused = await failureOf(eventsOf(backend.exec(web, { argv: ['true'] }, newExec(), soon(), by)))
    expect(refused.message).toContain('User "slack:T1/U1" cannot get resource "pods/exec"')
    const admins = kubernetes(
      'kube',
      { ...settings, impersonateGroup: 'system:masters' },
      { transport: nodeTransport, files: filesOf(nodeMachine()) },
    )
    expect((await eventsOf(admins.exec(web, { argv: ['true'] }, newExec(), soon(), by))).at(-1)).toEqual({
      type: 'exit',
      code: 0,
    })
  })
})

describe('the way to the server', () => {
  const config = (user: string, clusterMore = `certificate-authority: ${cluster.caFile}`) => {
    const dir = folder()
    const file = join(dir, 'config')
    writeFileSync(
      file,
      `current-context: x
contexts: [{ name: x, context: { cluster: c, user: u, namespace: ${cluster.namespace} } }]
clusters: [{ name: c, cluster: { server: "${cluster.url}", ${clusterMore} } }]
users: [{ name: u, user: { ${user} } }]
`,
    )
    return {
      dir,
      backend: kubernetes(
        'kube',
        { kubeconfig: file, impersonate: 'none' },
        { transport: nodeTransport, files: filesOf(nodeMachine()) },
      ),
    }
  }
  const certificate = `client-certificate: ${cluster.certificate.cert}, client-key: ${cluster.certificate.key}`
  const runs = async (backend: ReturnType<typeof kubernetes>) => {
    const [target] = await backend.list({ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, soon())
    return (await runOn(backend, target!, { argv: ['true'] })).code
  }

  test('a client certificate, by file and by data', async () => {
    expect(await runs(config(certificate).backend)).toBe(0)
    const data = (path: string) => readFileSync(path).toString('base64')
    const inline = `client-certificate-data: ${data(cluster.certificate.cert)}, client-key-data: ${data(cluster.certificate.key)}`
    expect(await runs(config(inline, `certificate-authority-data: ${data(cluster.caFile)}`).backend)).toBe(0)
  })

  test('an exec plugin that gives a token, and one that gives a certificate', async () => {
    const status = { token: { token: cluster.tokens.exec }, certificate: certificateData() }
    for (const one of Object.values(status)) {
      const { dir, backend } = config(
        `exec: { apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin, interactiveMode: Never, provideClusterInfo: true }`,
      )
      const answer = JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1beta1', kind: 'ExecCredential', status: one })
      writeFileSync(join(dir, 'plugin'), `#!/bin/sh\ncat <<'EOF'\n${answer}\nEOF\n`)
      chmodSync(join(dir, 'plugin'), 0o755)
      expect(await runs(backend)).toBe(0)
    }
  })

  test('S31 a private CA that is not named is told with the remedy, and skipping the check works only where it is written', async () => {
    const untrusted = await failureOf(config(certificate, 'proxy-url: ""').backend.list({}, soon()))
    expect(untrusted.message).toContain('TLS')
    expect(untrusted.next).toContain('certificate-authority')
    const unverified = config(certificate, 'insecure-skip-tls-verify: true').backend
    expect(await runs(unverified)).toBe(0)
    expect((await unverified.check(soon())).map(({ what }) => what)).toContain('the server’s certificate is not verified')
  })

  test('the certificate’s name is the one that is asked for', async () => {
    const named = `certificate-authority: ${cluster.caFile}, tls-server-name`
    expect(await runs(config(certificate, `${named}: kubernetes.default.svc`).backend)).toBe(0)
    expect((await failureOf(config(certificate, `${named}: other.example.com`).backend.list({}, soon()))).message).toContain(
      'TLS',
    )
  })
})

describe('containers', () => {
  test('one of a pod by its annotation, others by name, an ephemeral one too', async () => {
    expect(all.filter(({ facets }) => facets.pod === 'multi').map(({ native }) => native)).toEqual(['drover/multi/app'])
    const selector = { facets: { pod: 'multi', container: 's*' } }
    const named = async () => (await backendAs('exec').list(selector, soon())).filter((target) => matches(selector, target))
    expect((await named()).map(({ name, facets }) => [name, facets.image])).toEqual([['multi/sidecar', 'drover-test/busybox:2']])
    await apply(pod('debugged'))
    onTestFinished(async () => void (await kubectl('delete', 'pod', 'debugged', '--wait=false')))
    await kubectl('alpha', 'debug', 'debugged', '--image=drover-test/busybox:2', '--container=look', '--', 'sleep', '1000000')
    const debugged = { facets: { pod: 'debugged', container: 'look' } }
    const find = async () => (await backendAs('exec').list(debugged, soon())).filter((target) => matches(debugged, target))
    await expect.poll(async () => (await find()).length, { timeout: 20_000 }).toBe(1)
    const [look] = await find()
    const ran = await runOn(backendAs('exec'), look!, { argv: ['env'] })
    expect(`${ran.out}`).toContain('IMAGE_VERSION=2\n')
  })

  test('what is pending or completed is not listed', () => {
    expect(all.map(({ facets }) => facets.pod)).not.toContain('pending')
    expect(all.map(({ facets }) => facets.pod)).not.toContain('completed')
  })

  test('the owner of a pod is told without a right to read replicasets', () => {
    expect(web.facets).toMatchObject({ workload: 'deployment/web', service: 'web', host: 'localhost' })
  })
})

describe.each(Object.entries(doors))('by %s', (_, server) => {
  test('1.5 MB of stdin arrive whole and have an end; a command that does not read it ends all the same', async () => {
    const big = 'x'.repeat(1_500_000)
    const backend = backendAs('exec', server)
    const ran = await runOn(backend, web, { argv: ['sha256sum'], stdin: big })
    expect(`${ran.out}`).toContain(createHash('sha256').update(big).digest('hex'))
    expect((await runOn(backend, web, { argv: ['/bin/sh', '-c', 'exit 7'], stdin: big })).code).toBe(7)
  })

  test('keep-alive messages do no harm, with stdin or without', async () => {
    const backend = backendAs('exec', server, { keepAliveIntervalMs: 400 })
    const quiet = await runOn(backend, web, { argv: ['/bin/sh', '-c', 'sleep 2; echo on; exit 3'] })
    expect([`${quiet.out}`, quiet.code]).toEqual(['on\n', 3])
    const fed = await runOn(backend, web, { argv: ['/bin/sh', '-c', 'sleep 2; cat; exit 4'], stdin: 'a\nb' })
    expect([`${fed.out}`, fed.code]).toEqual(['a\nb', 4])
  })

  test('twenty at a time in one container do not disturb each other', async () => {
    const backend = backendAs('exec', server)
    const ran = await Promise.all(
      Array.from({ length: 20 }, (__, i) =>
        runOn(backend, web, { argv: ['/bin/sh', '-c', `echo ${i}; echo e${i} >&2; exit ${i}`] }),
      ),
    )
    expect(ran.map(({ out, err, code }) => [`${out}`, `${err}`, code])).toEqual(
      Array.from({ length: 20 }, (__, i) => [`${i}\n`, `e${i}\n`, i]),
    )
  })

  test('[true-ending] a pod that is deleted meanwhile is no success, and its processes are proved gone', async () => {
    const name = `doomed-${Math.floor(Math.random() * 100_000)}`
    await apply(pod(name))
    const backend = backendAs('exec', server)
    const [doomed] = await backend.list({ name }, soon())
    const { handle, events } = await begin(backend, doomed!, ['/bin/sh', '-c', 'echo go; sleep 1000; exit 0'])
    await kubectl('delete', 'pod', name, '--wait=false')
    const rest: ExecEvent[] = []
    const outcome = await (async () => {
      for (;;) {
        const { value, done } = await events.next()
        if (done) return 'ended'
        rest.push(value)
      }
    })().catch((error: BackendError) => error)
    if (outcome === 'ended') expect(rest.at(-1)).toEqual({ type: 'exit', code: 137 })
    else expect(outcome).toMatchObject({ ran: 'maybe' })
    await kubectl('wait', '--for=delete', `pod/${name}`, '--timeout=60s')
    expect(await backend.kill(doomed!, handle, soon())).toEqual({ result: 'gone' })
    expect(await failureOf(runOn(backend, doomed!, { argv: ['true'] }))).toMatchObject({ code: 'backend_not_found', ran: 'no' })
  })
})

describe('the command line', { timeout: 180_000 }, () => {
  const drover = (...words: string[]) => {
    const dir = folder()
    writeFileSync(
      join(dir, 'drover.yaml'),
      `ledger: { path: ${join(dir, 'drover.db')} }
backends: { kube: { kind: kubernetes, kubeconfig: ${cluster.kubeconfig} } }
rules: [{ id: me, effect: allow, who: { cli: true }, commands: ['...'], rights: [shell] }]
`,
    )
    return runProcess(['src/cli.ts', ...words, `--config=${join(dir, 'drover.yaml')}`])
  }

  test('prints both streams and exits with the command’s code', async () => {
    const { stdout, stderr, code } = await drover('exec', 'on=kube', 'label=app=web', 'cmd=echo out; echo err >&2; exit 3')
    expect(code).toBe(3)
    expect(stdout).toContain('out\n')
    expect(stderr).toContain('err\n')
    expect(stdout).toContain('2 of 2')
  })

  test('[gone-is-gone] S42 a timeout leaves nothing behind', async () => {
    const mark = '31557'
    const { stdout, code } = await drover('exec', 'on=kube', 'label=app=web', 'timeout=1s', `cmd=sleep ${mark}`)
    expect([code, stdout]).toEqual([124, expect.stringContaining('proved gone')])
    for (const one of all.filter(({ labels }) => labels.app === 'web'))
      expect(await processesInside(one, `sleep ${mark}`)).toEqual([])
  })

  test('check finds nothing wrong', async () => {
    const { stdout, code } = await drover('check')
    expect(code).toBe(0)
    expect(stdout).toContain('kube: Kubernetes answers: v1.20')
  })
})

describe('Deno', { timeout: 180_000 }, () => {
  test('reaches it with a kubeconfig, its private CA and its token', async () => {
    const deno = await RUNTIMES.Deno()
    const argv = ['/bin/sh', '-c', 'cat; echo err >&2; exit 3'] as const
    const told = await deno.tell({ settings: { kubeconfig: cluster.kubeconfig }, name: web.name, argv, stdin: 'é in\n' })
    expect(told).toEqual({ native: web.native, out: 'é in\n', err: 'err\n', end: { type: 'exit', code: 3 } })
  })
})

describe('a kubelet that dies', () => {
  const kubelet = kubeletOf(dirname(cluster.kubeconfig))
  afterAll(() => kubelet.start())

  test.each(Object.entries(doors))(
    '[true-ending] S41 kubernetes#73056 by %s: what ran there is unknown, never a success, and can still be ended',
    async (_, server) => {
      const mark = `${800_000 + Math.floor(Math.random() * 99_999)}`
      const backend = backendAs('exec', server)
      const { handle, events } = await begin(backend, web, ['/bin/sh', '-c', `echo go; sleep ${mark}; exit 0`])
      kubelet.kill()
      const rest = (async () => {
        for (;;) if ((await events.next()).done) return
      })()
      expect(await failureOf(rest)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
      const away = await failureOf(runOn(backend, web, { argv: ['true'] }))
      expect([away.code, away.ran]).toEqual(['backend_unavailable', 'no'])
      await kubelet.start()
      expect(await processesInside(web, `sleep ${mark}`)).not.toEqual([])
      expect(await backend.kill(web, handle, soon())).toEqual({ result: 'gone' })
      expect(await processesInside(web, `sleep ${mark}`)).toEqual([])
    },
    180_000,
  )
})

async function eventsOf(events: AsyncIterable<ExecEvent>): Promise<readonly ExecEvent[]> {
  const found: ExecEvent[] = []
  for await (const event of events) found.push(event)
  return found
}

function certificateData() {
  return {
    clientCertificateData: readFileSync(cluster.certificate.cert, 'utf8'),
    clientKeyData: readFileSync(cluster.certificate.key, 'utf8'),
  }
}

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'drover-kube-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function runProcess(args: readonly string[]): Promise<{ stdout: string; stderr: string; code: number | null }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const text = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (data: Buffer) => {
      text[stream] += data.toString()
    })
  return new Promise((resolve) => child.once('close', (code) => resolve({ ...text, code })))
}

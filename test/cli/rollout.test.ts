/** `drover rollout` against a pretend Rancher: what it says on which stream, with what it exits, and that it changes what it said. */

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

describe('drover rollout', { timeout: 180_000 }, () => {
  let rancher: RancherPeer
  let folder: string
  let env: Record<string, string>

  beforeAll(async () => {
    rancher = await startRancherPeer({})
    folder = mkdtempSync(join(tmpdir(), 'drover-rollout-'))
    const { accessKey, secretKey } = rancher.environmentKey
    env = { CATTLE_URL: `${rancher.url}/v2-beta`, CATTLE_ACCESS_KEY: accessKey, CATTLE_SECRET_KEY: secretKey }
  })
  afterAll(async () => {
    await rancher.close()
    rmSync(folder, { recursive: true, force: true })
  })

  async function drover(args: readonly string[], interruptAt?: string) {
    const child = spawn(process.execPath, [cli, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    let isInterrupted = false
    child.stdout.on('data', (data: Buffer) => {
      out += data.toString()
    })
    child.stderr.on('data', (data: Buffer) => {
      err += data.toString()
      if (interruptAt === undefined || isInterrupted || !err.includes(interruptAt)) return
      isInterrupted = true
      child.kill('SIGINT')
    })
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    return { code, out, err }
  }
  const image = (to: string) => ['image', 'stack=shop', 'service=web', 'container=web', `image=${to}`]
  const imageNow = async () =>
    /image web\s+(\S+)/.exec((await drover(['rollout', 'status', 'stack=shop', 'service=web'])).out)?.[1]

  it('status is an answer on stdout, and changes nothing', async () => {
    const { code, out } = await drover(['rollout', 'status', 'stack=shop', 'service=web'])
    expect(out).toContain('service/web (rancher)')
    expect(out).toMatch(/image web\s+shop\/web:7/)
    expect(out).toContain('as it stands now')
    expect(code).toBe(0)
  })

  it('why shows before, after and what would be sent, by which rule, whichever word comes first', async () => {
    const one = await drover(['why', 'rollout', ...image('shop/web:8')])
    expect(one.out).toContain('shop/web:7 → shop/web:8')
    expect(one.out).toContain('?action=upgrade')
    expect(one.out).toContain('Rule: own-keys')
    expect(one.out).toContain('Nothing was changed.')
    expect(one.code).toBe(0)
    expect((await drover(['rollout', 'why', ...image('shop/web:8')])).out).toBe(one.out)
    expect(await imageNow()).toBe('shop/web:7')
  })

  it('an image is rolled out: before and after and each step on stderr, the end on stdout, exit 0; undo returns', async () => {
    const { code, out, err } = await drover(['rollout', ...image('shop/web:8')])
    expect(err).toContain('── service/web (rancher) · set the image of web to shop/web:8\nimage web  shop/web:7 → shop/web:8\n')
    expect(err).toMatch(/service\/web: upgrad(ing|ed)/)
    expect(out).toBe('── 1 of 1: service/web · rolled out\n')
    expect(err).toContain('drover rollout finish keeps it, drover rollout undo goes back')
    expect(code).toBe(0)
    expect(await imageNow()).toBe('shop/web:8')
    const back = await drover(['rollout', 'undo', 'stack=shop', 'service=web', '--json'])
    expect(JSON.parse(back.out)).toMatchObject({
      argv: ['rollout', 'undo'],
      rollout: { verb: 'undo' },
      outcome: { status: 'done' },
      executions: [
        { target: 'service/web', said: 'rolled back', plan: { facts: [{ before: 'shop/web:8', after: 'shop/web:7' }] } },
      ],
    })
    expect(await imageNow()).toBe('shop/web:7')
  })

  it('[bounded] a deadline exits 124 and says that the change stays; so does Ctrl-C, with 130', async () => {
    const late = await drover(['rollout', ...image('shop/web:missing'), 'timeout=1s'])
    expect(late.out).toContain('not finished after 1 s; the change stays')
    expect(late.err).toContain('To go back: drover rollout undo')
    expect(late.code).toBe(124)
    expect((await drover(['rollout', 'undo', 'stack=shop', 'service=web'])).code).toBe(0)
    const stopped = await drover(['rollout', ...image('shop/web:missing')], 'service/web: ')
    expect(stopped.out).toContain('no longer watched; the change stays')
    expect(stopped.code).toBe(130)
    expect((await drover(['rollout', 'undo', 'stack=shop', 'service=web'])).code).toBe(0)
  })

  it('what is refused exits 125, and a line that does not parse 2; both say what to do', async () => {
    const wrong = await drover(['rollout', 'image', 'stack=shop', 'service=web', 'container=wbe', 'image=x'])
    expect(wrong.err).toContain('container')
    expect(wrong.err).toContain('Nothing was changed.')
    expect(wrong.code).toBe(125)
    const usage = await drover(['rollout', 'restart', 'service=web', 'any=1'])
    expect(usage.err).toContain('any= would leave to chance')
    expect(usage.code).toBe(2)
  })

  it('[default-deny] with a drover.yaml the rules hold, and commands do not cover rollouts', async () => {
    const rule = { id: 'any-command', effect: 'allow', who: { cli: true }, commands: ['...'] }
    const settings = {
      kind: 'rancher1',
      url: env.CATTLE_URL,
      accessKey: { env: 'CATTLE_ACCESS_KEY' },
      secretKey: { env: 'CATTLE_SECRET_KEY' },
    }
    const config = { ledger: { path: ':memory:' }, backends: { prod: settings }, rules: [rule] }
    writeFileSync(join(folder, 'drover.yaml'), JSON.stringify(config))
    try {
      const { code, err } = await drover(['rollout', 'restart', 'stack=shop', 'service=web'])
      expect(err).toContain('No rule allows you to roll this out here.')
      expect(code).toBe(125)
    } finally {
      rmSync(join(folder, 'drover.yaml'))
    }
  })
})

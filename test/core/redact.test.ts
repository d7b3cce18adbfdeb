/** Secrets in what is shown: each shape, each spelling of a known value, and every way to split one over writes. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRedactor, maskArgv, shortestSecret } from '../../src/core/redact.ts'

const plain = createRedactor([])
const run = (n: number, digit = 'a1B2') => digit.repeat(n).slice(0, n)

// Put together at run time, so that no scanner takes this file for a leak.
const shapes: readonly (readonly [name: string, before: string, secret: string, after: string])[] = [
  ['AWS key id', 'key ', `AKIA${'A1'.repeat(8)}`, ' end'],
  ['GitHub token', '', `ghp_${run(36)}`, ''],
  ['GitHub fine-grained token', '"', `github_pat_${run(70)}`, '"'],
  ['GitLab token', ' ', `glpat-${run(20)}`, '\n'],
  ['Slack bot token', 'token ', `xoxb-${run(30, '12-a')}`, ' '],
  ['Slack app token', '', `xapp-1-${run(30)}`, ''],
  ['Slack webhook', 'https://', `hooks.slack.com/services/T1/B2/${run(24)}`, ' '],
  ['JWT', ' ', `eyJ${run(20)}.eyJ${run(30)}.${run(20)}`, ' '],
  ['long JWT', ' ', `eyJ${run(3_000)}.eyJ${run(7_000)}.${run(1_000)}`, ' '],
  ['Stripe key', '', `sk_live_${run(24)}`, ''],
  ['model provider key', '', `sk-proj-${run(40)}`, ''],
  ['Google key', '', `AIza${run(35)}`, ''],
  ['SendGrid key', '', `SG.${run(22)}.${run(43)}`, ''],
  ['npm token', '', `npm_${run(36)}`, ''],
  ['bearer token', 'Authorization: Bearer ', run(40), '\n'],
  ['basic credentials', 'authorization: basic ', `${run(20)}==`, '\n'],
  ['password in a URL', 'postgres://app:', 'hunter22', '@db/shop'],
  ['docker config', '{"auths":{"r.example":{"auth":"', 'dXNlcjpwYXNzd29yZA==', '"}}}'],
  ['assignment', 'DB_PASSWORD=', 'hunter22', '\n'],
  ...['SECRET_KEY', 'CATTLE_SECRET_KEY', 'SECRET_KEY_BASE', 'APP_KEY', 'ENCRYPTION_KEY', 'DB_PASS', 'db_pass', 'MYSQL_PWD'].map(
    (name) => [name, `${name}=`, 'hunter22', '\n'] as const,
  ),
  ['camel case', '{"secretKey": "', 'hunter22', '"}'],
  ['JSON field', '{"api_key": "', '123e4567-e89b-42d3-a456-426614174000', '"}'],
  ['YAML field', 'client-secret: ', 'hunter22', '\n'],
  ['option', 'mysql --password ', 'hunter22', ' shop'],
  ['private key', 'x\n', `-----BEGIN RSA PRIVATE KEY-----\n${`${run(64)}\n`.repeat(12)}-----END RSA PRIVATE KEY-----`, '\ny'],
  ['OpenSSH key', '', `-----BEGIN OPENSSH PRIVATE KEY-----\n${run(64)}\n-----END OPENSSH PRIVATE KEY-----`, ''],
]

describe('[no-secret-shown] S33 shapes', () => {
  it.each(shapes)('%s', (_, before, secret, after) => {
    const { text, masked } = plain.text(before + secret + after)
    expect(masked).toBe(1)
    expect(text).toMatch(/\[masked: [a-z -]+\]/)
    expect(text.startsWith(before) && text.endsWith(after)).toBe(true)
    expect(text).not.toContain(secret.slice(-16))
  })

  it.each([
    'the password is long',
    'token',
    'secret: no',
    'eyJhbGciOi',
    'ghp_short',
    'https://a/b:c@d',
    'https://host:8080/',
    'ls -p 22',
    'PWD=/srv/app/current',
    'OLDPWD=/srv/app/current',
    'AKIA',
    'passwords are bad',
  ])('leaves alone what is none: %j', (text) => expect(plain.text(text)).toEqual({ text, masked: 0 }))

  it('nothing is left of a password in a URL that holds the sign which ends it', () => {
    expect(plain.text('postgres://app:hun@ter@22@db/shop').text).toBe('postgres://app:[masked: password-in-url]@db/shop')
  })

  it('masking twice changes nothing more', () => {
    for (const [, before, secret, after] of shapes) {
      const once = plain.text(before + secret + after).text
      expect(plain.text(once).text).toBe(once)
    }
  })
})

describe('[no-secret-shown] S33 every beginning of a shape is known to the first look', () => {
  const long = run(200)
  it.each([
    ...['AKIA', 'ASIA', 'ABIA', 'ACCA'].map((begin) => begin + 'A1'.repeat(8)),
    ...['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'].map((begin) => begin + run(36)),
    ...['glpat-', 'gldt-', 'glrt-', 'glft-', 'glcbt-'].map((begin) => begin + run(20)),
    ...['xoxa-', 'xoxb-', 'xoxe-', 'xoxp-', 'xoxr-', 'xoxs-', 'xapp-1-'].map((begin) => begin + run(20)),
    ...['services', 'workflows', 'triggers', 'commands', 'actions', 'app'].map((one) => `hooks.slack.com/${one}/${run(24)}`),
    ...['sk_live_', 'sk_test_', 'rk_live_', 'rk_test_', 'pk_live_', 'pk_test_'].map((begin) => begin + run(24)),
    ...['sk-', 'sk-proj-', 'sk-ant-'].map((begin) => begin + run(40)),
    ...['bearer', 'BEARER', 'Basic', 'token'].map((scheme) => `${scheme} ${long}`),
    ...['password', 'passwd', 'passphrase', 'secret', 'token', 'api-key', 'apikey', 'access-key', 'private-key'].flatMap(
      (word) => [`--${word} hunter22`, `${word}: hunter22`, `${word.toUpperCase()}=hunter22`],
    ),
    'CREDENTIALS=hunter22',
    'amqps://a:hunter22@host',
    `dop_v1_${'0af1'.repeat(16)}`,
    `-----BEGIN PGP PRIVATE KEY BLOCK-----\n${run(64)}\n-----END PGP PRIVATE KEY BLOCK-----`,
  ])('%s', (secret) => expect(plain.text(` ${secret} `).masked).toBe(1))
})

describe('[no-secret-shown] known values', () => {
  const value = 'p@ss "w0rd"/+ü'
  const redactor = createRedactor([value, 'short', 'multi-line\r\nsecret value'])
  const bytes = (text: string) => Buffer.from(text, 'utf8')
  it.each([
    ['plain', value],
    ['percent-encoded', encodeURIComponent(value)],
    ['in JSON', JSON.stringify(value).slice(1, -1)],
    ['base64', bytes(value).toString('base64')],
    ['base64 of a line, as `echo | base64` does', bytes(`${value}\n`).toString('base64')],
    ['base64url', bytes(value).toString('base64url')],
    ['with the line ends of a terminal', 'multi-line\r\nsecret value'],
    ['over two lines', 'multi-line\nsecret value'],
  ])('%s', (_, spelled) => {
    const { text } = redactor.text(`before ${spelled} after`)
    expect(text).toMatch(/^before \[masked: known secret\].{0,4} after$/)
  })

  it('base64 is caught whatever the length of the value', () => {
    for (let n = shortestSecret; n < 40; n++) {
      const secret = run(n, 'x7Q_')
      for (const ending of ['', '\n', ':rest']) {
        const shown = createRedactor([secret]).text(bytes(secret + ending).toString('base64')).text
        expect(shown).toContain('[masked: known secret]')
      }
    }
  })

  it('a value too short to mask, and one that no encoding takes, break nothing', () => {
    expect(redactor.text('a short word').text).toBe('a short word')
    expect(createRedactor(['lone\ud800surrogate']).text('x lone\ud800surrogate').text).toBe('x [masked: known secret]')
    expect(createRedactor(['']).text('abc').text).toBe('abc')
  })

  it('a file’s secret is caught without its last line end', () => {
    expect(createRedactor(['hunter-two-two\n']).text('it is hunter-two-two!').text).toBe('it is [masked: known secret]!')
  })
})

describe('[no-secret-shown] S33 split over writes', () => {
  const streamed = (redactor: ReturnType<typeof createRedactor>, parts: readonly string[]) => {
    const stream = redactor.stream()
    const shown = parts.map((part) => stream.write(part)).join('') + stream.end()
    return { text: shown, masked: stream.masked }
  }
  const known = createRedactor(['known-secret-value', 'two\nlines of it'])
  const texts = [
    ...shapes
      .filter(([name]) => name !== 'long JWT')
      .map(([, before, secret, after]) => `head\n${before}${secret}${after}\ntail\n`),
    'a known-secret-value b\n',
    'x two\nlines of it y\n',
    'x two\nlines of it y',
  ]

  it.each(texts.map((text) => [text.slice(5, 40).replaceAll(/\s/g, ' '), text] as const))(
    'at every place, in two and in three: %s',
    (_, text) => {
      // Values of several lines change what is held back.
      for (const redactor of text.includes('nown') || text.includes('two') ? [known] : [plain, known]) {
        const whole = redactor.text(text)
        const step = text.length > 300 ? 23 : 1
        for (let a = 0; a <= text.length; a++) {
          expect(streamed(redactor, [text.slice(0, a), text.slice(a)])).toEqual(whole)
          for (let b = a; b <= text.length && a % step === 0; b += step) {
            const { text: shown } = streamed(redactor, [text.slice(0, a), text.slice(a, b), text.slice(b)])
            if (shown !== whole.text) throw new Error(`split at ${a} and ${b}: ${shown}`)
          }
        }
      }
    },
  )

  it('between the words that announce a secret and the secret, in a line longer than what is held back', () => {
    for (let at = 65_536 - 16_384 - 60; at < 65_536 - 16_384 + 20; at++) {
      const text = `${'.'.repeat(at)} DB_PASSWORD="hunter22" ${'.'.repeat(65_536 - at)}`
      expect(streamed(plain, [text, '.'.repeat(9), '\n']).text).not.toContain('hunter')
    }
  })

  it('anywhere in a line longer than what is held back, whatever the writes', () => {
    const jwt = shapes.find(([name]) => name === 'long JWT')![2]
    for (const secret of ['known-secret-value', jwt, `ghp_${run(36)}`]) {
      for (const at of [0, 65_500, 65_536 - 16_384, 81_900]) {
        for (const size of [4_096, 200_000]) {
          const text = `${'. '.repeat(at / 2)}${secret} ${'. '.repeat(40_000)}`
          const parts = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size))
          const { text: shown, masked } = streamed(known, parts)
          expect([masked, shown.includes(secret.slice(-12))]).toEqual([1, false])
        }
      }
    }
  })

  it('a key whose end never comes hides what follows, and holds nothing', () => {
    const stream = plain.stream()
    let shown = stream.write('before\n-----BEGIN PRIVATE KEY-----\n')
    for (let i = 0; i < 3_000; i++) shown += stream.write(`${run(64)}\n`)
    shown += stream.end()
    expect(shown).toBe('before\n[masked: private-key]')
  })

  it('[bounded] an endless key behind another match is let go as well', () => {
    const stream = plain.stream()
    let shown = stream.write('x token=abcdef-----BEGIN PRIVATE KEY-----\n')
    for (let i = 0; i < 3_000; i++) shown += stream.write(`${run(64)}\n`)
    shown += stream.write('-----END PRIVATE KEY-----\nafter\n') + stream.end()
    expect(shown).toBe('x token=[masked: private-key]\nafter\n')
  })
})

describe('[no-secret-shown] S33 what is learned while it runs', () => {
  it('is masked from then on, in every spelling, and in a stream that is open already', () => {
    const redactor = createRedactor(['of-the-file'])
    const stream = redactor.stream()
    const open = stream.write('first line\nit is tok') + stream.write('en-of-ye')
    redactor.learn(['token-of-yesterday', 'short', ''])
    const rest = stream.write('sterday, no short\n') + stream.end()
    expect(open + rest).toBe('first line\nit is [masked: known secret], no short\n')
    expect(stream.masked).toBe(1)
    expect(redactor.text(btoa('token-of-yesterday')).text).toContain('[masked: known secret]')
    expect(redactor.blank('a token-of-yesterday')).toBe(`a ${'•'.repeat(18)}`)
    expect(redactor.text('of-the-file').masked).toBe(1)
  })

  it('counts in what is held between a look at the bytes and their writing', () => {
    const redactor = createRedactor([])
    const stream = redactor.stream()
    const piece = 'it is token-of-yesterday\n'
    const seen = stream.look(new TextEncoder().encode(piece))
    redactor.learn(['token-of-yesterday'])
    expect(stream.write(piece, seen) + stream.end()).toBe('it is [masked: known secret]\n')
    const later = redactor.stream()
    expect(later.write(piece, later.look(new TextEncoder().encode(piece)))).toBe('it is [masked: known secret]\n')
  })

  it('a value of several lines that is learned half-way is still caught over them', () => {
    const redactor = createRedactor([])
    const stream = redactor.stream()
    redactor.learn(['two\nlines of it'])
    expect(stream.write('x two\n') + stream.write('lines of it y\n') + stream.end()).toBe('x [masked: known secret] y\n')
  })

  it('[bounded] of tokens that are replaced for ever the last ones are remembered, of the configuration all', () => {
    const redactor = createRedactor(['of-the-file'])
    for (let i = 0; i < 2_000; i++) {
      redactor.learn([`rotated-token-${i}-`])
      redactor.learn(['used-all-the-time'])
    }
    redactor.learn([run(20_000)])
    expect(redactor.text('rotated-token-1999- rotated-token-1800-').masked).toBe(2)
    expect(redactor.text('rotated-token-1- rotated-token-1000-').masked).toBe(0)
    expect(redactor.text('used-all-the-time of-the-file').masked).toBe(2)
    expect(redactor.text(run(20_000)).masked).toBe(0)
  })
})

describe('S38 hostile megabytes', () => {
  const mega = 1_000_000
  const seeds = [
    'a',
    'eyJ',
    '-eyJ',
    'eyJ.',
    '-----BEGIN PRIVATE KEY-----',
    'password=',
    'token token ',
    'a://',
    'a://b:',
    'token=a,',
    '--password ',
    'sk-',
    'Bearer ',
    '\n',
    ' ',
    '=',
    'xoxb-',
  ]
  /** The better of two, so that a pause of the machine does not count. */
  const cost = (text: string) =>
    Math.min(
      ...[1, 2].map(() => {
        const from = performance.now()
        plain.text(text)
        return performance.now() - from
      }),
    )

  it.each(seeds)('[bounded] %j repeated takes time in proportion to its length', (seed) => {
    const half = cost(seed.repeat(mega / 4 / seed.length))
    const whole = cost(seed.repeat(mega / seed.length))
    // Quadratic would be sixteen times.
    expect(whole).toBeLessThan(10 * half + 100)
  })
})

describe('an argv as it may be shown', () => {
  it('S35 masks an argument by itself and by the option before it', () => {
    const argv = ['mysql', '-u', 'root', '--password', 'hunter22', `ghp_${run(36)}`, 'shop'] as const
    expect(maskArgv(argv, plain)).toEqual([
      'mysql',
      '-u',
      'root',
      '--password',
      '[masked: option]',
      '[masked: github-token]',
      'shop',
    ])
    expect(maskArgv(['curl', '-H', 'Authorization: Bearer abcdefghijklmnopqrst'], plain)).toEqual([
      'curl',
      '-H',
      'Authorization: Bearer [masked: authorization]',
    ])
  })

  it('[exact-argv] leaves every other array as it is', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 8 }), { minLength: 1 }), (argv) => {
        fc.pre(plain.text(argv.join(' ')).masked === 0)
        expect(maskArgv(argv as [string], plain)).toEqual(argv)
      }),
    )
  })
})

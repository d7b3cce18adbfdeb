/** A generator of signed slash commands over plain sockets, lean enough not to be what is measured. */

import { connect, type Socket } from 'node:net'
import { signedHeaders } from '../src/playground/slack/sign.ts'
import { quantile } from './rows.ts'

export const signingSecret = 'the-signing-secret-of-the-bench-0123'

export type LoadFigures = { readonly perSecond: number; readonly p50: number; readonly p99: number }

let made = 0

function requestText(host: string, text: string): string {
  const form = new URLSearchParams({
    token: 'of-old',
    team_id: 'T0PLAY',
    team_domain: 'play',
    channel_id: 'C0OPS',
    channel_name: 'ops',
    user_id: 'U0ALEX',
    user_name: 'alex',
    command: '/exec',
    text,
    api_app_id: 'A0DROVER',
    is_enterprise_install: 'false',
    response_url: `http://${host}/nowhere`,
    trigger_id: `${process.pid}.${Date.now()}.${made++}`,
  }).toString()
  const headers = signedHeaders(signingSecret, form, Math.floor(Date.now() / 1000))
  const lines = Object.entries({ host, ...headers, 'content-length': String(form.length) }).map(
    ([key, value]) => `${key}: ${value}\r\n`,
  )
  return `POST /slack/events HTTP/1.1\r\n${lines.join('')}\r\n${form}`
}

/** Every answer has to be a 200; each connection sends its next request when the last was answered. */
export async function load(
  url: string,
  options: { readonly connections: number; readonly ms: number; readonly text: string },
): Promise<LoadFigures> {
  const { host, hostname, port } = new URL(url)
  const times: number[] = []
  const begin = performance.now()
  const end = begin + options.ms
  await Promise.all(
    Array.from({ length: options.connections }, async () => {
      const socket = connect(Number(port), hostname)
      socket.setNoDelay(true)
      try {
        while (performance.now() < end) {
          const request = requestText(host, options.text)
          const sent = performance.now()
          const answered = answer(socket)
          socket.write(request)
          const status = await answered
          if (status !== 200) throw new Error(`${url} answered ${status}`)
          times.push(performance.now() - sent)
        }
      } finally {
        socket.destroy()
      }
    }),
  )
  const seconds = (performance.now() - begin) / 1000
  return { perSecond: times.length / seconds, p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
}

/** The status of one whole answer. */
function answer(socket: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = ''
    const settle = (act: () => void) => {
      socket.off('data', onData).off('close', onClose).off('error', onClose)
      act()
    }
    const onClose = () => settle(() => reject(new Error('the connection ended before the answer')))
    const onData = (data: Buffer) => {
      text += data.toString('latin1')
      const head = text.indexOf('\r\n\r\n')
      if (head < 0) return
      const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head))?.[1]
      const isWhole =
        length === undefined
          ? !/\r\ntransfer-encoding: chunked/i.test(text.slice(0, head)) || text.endsWith('0\r\n\r\n')
          : text.length >= head + 4 + Number(length)
      if (isWhole) settle(() => resolve(Number(text.slice(9, 12))))
    }
    socket.on('data', onData).on('close', onClose).on('error', onClose)
  })
}

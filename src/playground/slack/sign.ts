/** Slack's request signature v0, as Slack computes it when it sends. */

import { createHmac } from 'node:crypto'

/** `timestamp` in seconds; `body` is the raw body, byte for byte. */
export function signature(secret: string, timestamp: number | string, body: string): string {
  return `v0=${createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex')}`
}

export function signedHeaders(secret: string, body: string, timestamp: number): Record<string, string> {
  return {
    'content-type': body.startsWith('{') ? 'application/json' : 'application/x-www-form-urlencoded',
    'user-agent': 'Slackbot 1.0 (+https://api.slack.com/robots)',
    'x-slack-request-timestamp': String(timestamp),
    'x-slack-signature': signature(secret, timestamp, body),
  }
}

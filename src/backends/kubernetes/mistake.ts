/** What an operator got wrong on the way to a cluster. */

import { BackendError } from '../../core/errors.ts'

export function mistake(message: string, next: string, cause?: unknown): BackendError {
  return new BackendError({ code: 'config', message, next }, { ran: 'no', cause })
}

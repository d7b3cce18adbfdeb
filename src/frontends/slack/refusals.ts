/** Slack's words for why something cannot be said: not there, not in that thread, not that message, not as a file. */

import { SlackCallError } from './client.ts'

/** docs.slack.dev, errors of chat.postMessage, chat.update, chat.postEphemeral and files.completeUploadExternal. */
const PLACES =
  /^(not_in_channel|channel_not_found|is_archived|is_inactive|user_not_in_channel|restricted_action.*|ekm_access_denied|no_permission|channel_type_not_supported|messages_tab_disabled)$/
const THREADS = /^(thread_not_found|invalid_thread_ts|cannot_reply_to_message|restricted_action_thread_locked)$/
const MESSAGES = /^(message_not_found|cant_update_message|edit_window_closed|thread_not_found)$/
const LAYOUTS = /^(invalid_blocks.*|invalid_attachments|msg_too_long|msg_blocks_too_long)$/
const FILES = /^(file_uploads?_.*|not_allowed.*|access_denied|posting_to_.*|storage_limit_reached|missing_scope|http_4\d\d)$/

const isRefused =
  (...words: readonly RegExp[]) =>
  (error: unknown): error is SlackCallError =>
    error instanceof SlackCallError && error.outcome === 'refused' && words.some((one) => one.test(error.slack))

/** The bot cannot speak there. */
export const isUnreachable = isRefused(PLACES)
/** The thread is gone or closed; its channel may not be. */
export const isThreadGone = isRefused(THREADS)
/** The message to edit is gone, or can no longer be edited. */
export const isMessageGone = isRefused(MESSAGES, PLACES)
/** Slack does not take this layout, and would not take it another time. */
export const isUnshowable = isRefused(LAYOUTS)
/** Messages may still go where no file does: files take membership. */
export const isFileRefused = isRefused(FILES, PLACES)

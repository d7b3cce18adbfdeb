/** The page's HTML: a frame that `client.js` fills. */

import { html } from 'hono/html'

export type Example = {
  /** What it shows, in a few words. */
  readonly label: string
  /** What goes into the composer. */
  readonly text: string
  /** Switches to this person or channel first. */
  readonly user?: string
  readonly channel?: string
}

export function pageDocument(title: string, styles: readonly string[], nonce: string) {
  return html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>${title}</title>
    <link rel="icon" href="data:," />
    ${styles.map((name) => html`<link rel="stylesheet" href="/${name}.css" nonce="${nonce}" />`)}
    <script type="module" src="/start.js" nonce="${nonce}"></script>
  </head>
  <body>
    <div id="starting" class="starting">
      <p id="starting-says" role="status">Starting …</p>
      <p>If this stays, a part of the page is on its way too long: close other tabs of the playground and <a href="/">load it again</a>.</p>
      <noscript><p>This page needs JavaScript.</p></noscript>
    </div>
    <a class="skip" href="#composer">Skip to the composer</a>
    <nav class="side" aria-label="Workspace">
      <header class="brand">
        <span class="mark" aria-hidden="true"></span>
        <h1>${title}</h1>
        <button type="button" id="theme" class="quiet" aria-label="Switch between light and dark">◐</button>
      </header>
      <div id="tools" class="tools" role="group" aria-label="Look behind the chat">
        <button type="button" id="open-protocol" class="quiet" aria-controls="protocol" aria-expanded="false">Protocol</button>
        <button type="button" id="open-faults" class="quiet" aria-controls="faults" aria-expanded="false">Break things</button>
        <button type="button" id="tour-again" class="quiet">Tour</button>
      </div>
      <section aria-labelledby="h-people">
        <h2 id="h-people">You are</h2>
        <div id="people" role="radiogroup" aria-labelledby="h-people"></div>
      </section>
      <section aria-labelledby="h-channels">
        <h2 id="h-channels">Channels</h2>
        <ul id="channels"></ul>
      </section>
      <section id="tour" class="tour" aria-label="Tour" hidden></section>
      <section class="try" aria-labelledby="h-try">
        <h2 id="h-try">Try this</h2>
        <ul id="examples"></ul>
      </section>
    </nav>
    <main class="channel">
      <header class="head"><h2 id="channel-name"></h2><p id="channel-topic"></p></header>
      <ol id="messages" class="log" aria-live="polite" aria-label="Messages" tabindex="0"></ol>
      <form id="compose" class="compose">
        <label class="hidden" for="composer">Message</label>
        <ul id="composer-list" class="suggestions" role="listbox" aria-label="Suggestions" hidden></ul>
        <textarea id="composer" rows="1" autocomplete="off" autocapitalize="off" spellcheck="false" aria-autocomplete="list" aria-describedby="compose-hint"></textarea>
        <button type="submit" class="send">Send</button>
        <p id="compose-hint" class="hint"></p>
      </form>
    </main>
    <aside id="thread" class="thread" aria-label="Thread" hidden>
      <header class="head">
        <button type="button" id="thread-back" class="quiet back"></button>
        <h2>Thread</h2>
        <button type="button" id="thread-close" class="quiet" aria-label="Close the thread">✕</button>
      </header>
      <ol id="thread-messages" class="log" aria-live="polite" aria-label="Thread messages" tabindex="0"></ol>
      <form id="thread-compose" class="compose">
        <label class="hidden" for="thread-composer">Reply</label>
        <ul id="thread-composer-list" class="suggestions" role="listbox" aria-label="Suggestions" hidden></ul>
        <textarea id="thread-composer" rows="1" placeholder="Reply, or @drover …" autocomplete="off" autocapitalize="off" spellcheck="false" aria-autocomplete="list" aria-describedby="thread-hint"></textarea>
        <button type="submit" class="send">Reply</button>
        <p id="thread-hint" class="hint"></p>
      </form>
    </aside>
    <aside id="protocol" class="panel" aria-label="Protocol view" hidden>
      <header class="head">
        <h2>Protocol</h2>
        <label class="hidden" for="protocol-run">Run</label>
        <select id="protocol-run"><option value="">the open thread, or the latest</option></select>
        <button type="button" class="quiet" data-close="protocol" aria-label="Close the protocol view">✕</button>
      </header>
      <p class="lanes small">One run from top to bottom: what Slack sent, what drover made of it and wrote down, what went to the containers, what Slack was told. A line opens to what is in it.</p>
      <div id="protocol-lanes" class="lanes" role="group" aria-label="Shown lines"></div>
      <div class="scrolls" tabindex="0" role="region" aria-label="What went over the wires">
        <p id="protocol-empty" class="small">Nothing ran yet. Type <code>/exec label=web cmd="uptime"</code> and watch.</p>
        <ol id="protocol-list"></ol>
      </div>
    </aside>
    <aside id="faults" class="panel" aria-label="Break things on purpose" hidden>
      <header class="head">
        <h2>Break things</h2>
        <button type="button" id="heal" class="kit" disabled>Heal all</button>
        <button type="button" class="quiet" data-close="faults" aria-label="Close the faults">✕</button>
      </header>
      <p class="lanes small">Switch one on, try the command under it, and read what drover says in the thread.</p>
      <div id="faults-list" class="scrolls" tabindex="0" role="region" aria-label="Faults"></div>
    </aside>
    <dialog id="modal" aria-labelledby="modal-title"></dialog>
    <dialog id="confirm" aria-labelledby="confirm-title"></dialog>
    <div id="toasts" role="status" aria-live="polite"></div>
  </body>
</html>`
}

export function refusedDocument(message: string): string {
  return String(html`<!doctype html>
<html lang="en">
  <head><meta charset="utf-8" /><title>Not open</title></head>
  <body>
    <h1>${message}</h1>
    <p>Open the address that drover printed when it started; it ends in <code>?token=…</code>.</p>
    <p>If you have just done that: <a href="/">go on to the page</a>.</p>
  </body>
</html>`)
}

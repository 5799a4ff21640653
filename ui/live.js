/**
 * What happens, as it happens: server-sent events, taken up again where they broke off. While nobody looks at the page none
 * is open; a browser has six connections to a node, for all of its tabs together.
 */

import { backoff } from "./api.js";

/**
 * @template T
 * @typedef {{close(): void, heard: (told: T) => void}} Listening
 */

/** @typedef {{event_id: string, version: number, at: string, by: string, what: string, changes: Record<string, [unknown, unknown]>}} HistoryLine */
/** @typedef {{kind: "stored" | "tombstone" | "list", hour?: string, name?: string}} Stored */

/** Without a sign of life for this long, a connection is dead: the node sends one every 15 s at most. */
const SILENT_MS = 45_000;

export class Live {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /**
   * Every change of any event. `heard` may be told one twice; (event_id, version) tells. `caughtUp` is called whenever a
   * connection stands: what is shown may have missed something until then.
   * @param {(line: HistoryLine) => void} heard
   * @param {() => void} [caughtUp]
   * @returns {() => void} ends it
   */
  events(heard, caughtUp = () => {}) {
    let since = "";
    const url = () => this.api.url("/api/v1/events/stream", since ? { since } : {});
    return listen(url, {
      change: (event) => { since = event.lastEventId || since; heard(JSON.parse(event.data)); },
    }, caughtUp);
  }

  /**
   * What of a quality is stored or hidden.
   * @param {string} channel
   * @param {string} quality
   * @param {(told: Stored) => void} heard
   * @param {() => void} [caughtUp]
   * @returns {() => void} ends it
   */
  stored(channel, quality, heard, caughtUp = () => {}) {
    const url = () => this.api.url(`/follow/${encodeURIComponent(channel)}/${encodeURIComponent(quality)}`);
    const tell = (/** @type {"stored" | "tombstone" | "list"} */ kind) => (/** @type {MessageEvent} */ event) => heard({ kind, ...JSON.parse(event.data) });
    return listen(url, { stored: tell("stored"), tombstone: tell("tombstone"), list: tell("list") }, caughtUp);
  }
}

/**
 * @param {() => string} url
 * @param {Record<string, (event: MessageEvent) => void>} kinds
 * @param {() => void} opened
 * @returns {() => void}
 */
function listen(url, kinds, opened) {
  /** @type {EventSource | null} */
  let source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let failed = 0;
  let ended = false;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const again = () => {
    close();
    if (ended || document.hidden) return;
    failed += 1;
    timer = setTimeout(open, backoff(failed, 30_000));
  };
  // Comments, which keep a connection alive, are not told to pages; so a silent one is opened anew now and then.
  const hearAgain = () => {
    clearTimeout(timer);
    timer = setTimeout(again, SILENT_MS + Math.random() * SILENT_MS);
  };
  const open = () => {
    close();
    if (ended || document.hidden) return;
    source = new EventSource(url());
    source.onopen = () => { failed = 0; hearAgain(); opened(); };
    source.onerror = again;
    for (const [kind, act] of Object.entries(kinds)) {
      source.addEventListener(kind, (event) => { hearAgain(); act(/** @type {MessageEvent} */ (event)); });
    }
  };
  const look = () => (document.hidden ? close() : open());

  document.addEventListener("visibilitychange", look);
  open();
  return () => {
    ended = true;
    document.removeEventListener("visibilitychange", look);
    close();
  };
}

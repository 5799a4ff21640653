/**
 * All that the page asks of a node: the documented interface (README, /api/openapi.json), with deadlines, with a few more
 * tries for what only reads, and with errors that people can read.
 */

import { mapInSlices } from "./slices.js";
import { formatTime, parseTime } from "./time.js";

/** @typedef {import("./time.js").Micros} Micros */
/** @typedef {{start: Micros, end: Micros}} Span */
/** @typedef {Span & {cause: string, noticed: Micros, node: string, detail: string, filled: boolean}} Loss */
/** @typedef {Span & {lost: Record<string, number>}} Hole `lost` has seconds by cause */
/** @typedef {Span & {holes: Hole[], unsure: Span[], hidden: Span[]}} Coverage what is not there, what may be short, what a tombstone hides */
/** @typedef {{name: string, description: string}} Transition */
/** @typedef {{name: string, description: string, attribution: string, crop: number[] | null, location: number[] | null}} Template */
/** @typedef {Record<string, any> & {id: string, state: string, version: number}} JobEvent the columns of an event, as JSON */
/** @typedef {{start: Micros, end: Micros, peaks: (number | null)[]}} Waveform peaks of 0 to 255, null in a hole */

const DEADLINE_MS = 15_000;
/** What is made while it is sent may wait for its turn for a minute, and for its first frames for another. */
const MADE_DEADLINE_MS = 140_000;
const TRIES = 4;
const TOKEN = "segvault.token";

/** What people are told instead of a code, where the node's own words are not for everybody. */
const IN_PLAIN_WORDS = /** @type {Record<string, string>} */ ({
  no_token: "This takes a token. Sign in, then try again.",
  bad_token: "The node does not know this token.",
  role: "Your token does not allow this.",
  database: "The database does not answer. Nothing was changed; try again in a moment.",
  restarting: "A part of the node is being restarted; try again in a second.",
  not_ready: "The node is not ready yet.",
  busy: "The node is busy with other cuts; try again in a moment.",
  no_content: "Nothing is recorded there.",
});

/** Why something was not done. */
export class ApiError extends Error {
  /**
   * @param {string} message for people
   * @param {number} status 0 where nobody answered
   * @param {string} code stable, as README says; `unreachable` or `slow` where nobody answered
   * @param {string} detail the node's own words
   */
  constructor(message, status, code, detail = message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.detail = detail;
  }

  /** Whether the same may work later without anybody doing anything. */
  get passes() {
    return this.status === 0 || this.status === 503 || this.status === 502 || this.status === 504;
  }
}

/**
 * @typedef {object} Asked
 * @property {string} [method]
 * @property {Record<string, string | number | boolean | null | undefined> | [string, string][]} [query]
 * @property {unknown} [json] the body
 * @property {Blob | ArrayBuffer} [body]
 * @property {AbortSignal} [signal]
 * @property {number} [deadline] ms until the answer begins; it has as long again to end
 * @property {number} [tries]
 * @property {boolean} [signs] ask for a token and try again where one is needed
 */

export class Api {
  /** Asks somebody for a token; null if they would rather not. @type {(why: string) => Promise<string | null>} */
  askToken = async () => null;
  /** Is told when there is a token, or none any more. */
  onToken = () => {};
  /** Is told when a node answers again, or does not any more. @type {(isReachable: boolean) => void} */
  onReachable = () => {};
  #reachable = true;
  /** How far the node's clock is ahead of ours, in ms; small differences are not told from the way there. */
  #ahead = 0;

  /** @param {string} base of another node; empty for the one that this page comes from */
  constructor(base = "") {
    this.base = base.replace(/\/$/, "");
  }

  /** The same of another node. Nobody's token goes there. @param {string} base */
  of(base) {
    return new Api(base);
  }

  /** What the node's clock says, as far as we know. @returns {Micros} */
  nodeNow() {
    return (Date.now() + this.#ahead) * 1000;
  }

  get token() {
    return this.base ? null : sessionStorage.getItem(TOKEN);
  }

  /** @param {string | null} token */
  set token(token) {
    if (token) sessionStorage.setItem(TOKEN, token);
    else sessionStorage.removeItem(TOKEN);
    this.onToken();
  }

  /**
   * @param {string} path
   * @param {Asked["query"]} [query]
   */
  url(path, query = {}) {
    const pairs = Array.isArray(query) ? query : Object.entries(query);
    const text = pairs
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`)
      .join("&");
    return `${this.base}${path}${text ? `?${text}` : ""}`;
  }

  /**
   * An answer, whatever it is but an error; its body is the caller's to read. Only what reads is tried again by itself.
   * @param {string} path
   * @param {Asked} [asked]
   * @returns {Promise<Response>}
   */
  async ask(path, asked = {}) {
    return this.#tryFor(path, asked, async (answer) => answer);
  }

  /**
   * @template T
   * @param {string} path
   * @param {Asked} asked
   * @param {(answer: Response) => Promise<T>} read
   * @returns {Promise<T>}
   */
  async #tryFor(path, asked, read) {
    const method = asked.method ?? "GET";
    const tries = asked.tries ?? (method === "GET" ? TRIES : 1);
    for (let failed = 0; ; ) {
      try {
        const answer = await this.#once(path, method, asked, read);
        this.#tell(true);
        return answer;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (asked.signal?.aborted) throw error;
        this.#tell(error.status !== 0);
        if (error.status === 401 && asked.signs) {
          // One that has ended, or never was one, is of no use; what is being done waits for another.
          this.token = null;
          const token = await this.askToken(error.code === "no_token" ? "" : sentence(error.message));
          if (token === null) throw error;
          this.token = token;
          continue;
        }
        failed += 1;
        if (!error.passes || failed >= tries) throw error;
        await pause(backoff(failed), asked.signal);
      }
    }
  }

  /**
   * @template T
   * @param {string} path
   * @param {string} method
   * @param {Asked} asked
   * @param {(answer: Response) => Promise<T>} read
   * @returns {Promise<T>}
   */
  async #once(path, method, asked, read) {
    const deadline = asked.deadline ?? DEADLINE_MS;
    const ending = new AbortController();
    const end = () => ending.abort(new DOMException("slow", "TimeoutError"));
    let slow = setTimeout(end, deadline);
    const signal = asked.signal ? AbortSignal.any([asked.signal, ending.signal]) : ending.signal;
    const headers = new Headers();
    if (asked.json !== undefined) headers.set("Content-Type", "application/json");
    const token = this.token;
    if (token && method !== "GET") headers.set("Authorization", `Bearer ${token}`);
    const body = asked.json !== undefined ? JSON.stringify(asked.json) : asked.body;
    try {
      const answer = await fetch(this.url(path, asked.query), { method, headers, body, signal, cache: "no-store" });
      clearTimeout(slow);
      slow = setTimeout(end, deadline);
      // The header has whole seconds.
      const ahead = Date.parse(answer.headers.get("Date") ?? "") + 500 - Date.now();
      this.#ahead = Math.abs(ahead) > 2000 ? ahead : 0;
      if (!answer.ok) throw await refusal(answer);
      return await read(answer);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      if (asked.signal?.aborted) throw new ApiError("It was called off.", 0, "left");
      if (ending.signal.aborted) throw new ApiError("The node takes too long to answer.", 0, "slow");
      throw new ApiError("The node does not answer.", 0, "unreachable", String(error));
    } finally {
      clearTimeout(slow);
    }
  }

  /** @param {boolean} isReachable */
  #tell(isReachable) {
    if (isReachable === this.#reachable) return;
    this.#reachable = isReachable;
    this.onReachable(isReachable);
  }

  /**
   * @param {string} path
   * @param {Asked} [asked]
   * @returns {Promise<any>}
   */
  async json(path, asked = {}) {
    return this.#tryFor(path, asked, (answer) => answer.json());
  }

  // What there is.

  /** @param {AbortSignal} [signal] @returns {Promise<{name: string, id: string | null, life: string | null, ffmpeg: {version: string, missing: string[]} | null}>} */
  node(signal) {
    return this.json("/node", { signal });
  }

  /** @param {AbortSignal} [signal] @returns {Promise<string[]>} */
  channels(signal) {
    return this.json("/files", { signal });
  }

  /** Those that can be watched. @param {string} channel @param {AbortSignal} [signal] @returns {Promise<string[]>} */
  async qualities(channel, signal) {
    /** @type {string[]} */
    const all = await this.json(`/files/${part(channel)}`, { signal });
    return all.filter((quality) => quality !== "chat");
  }

  /**
   * @param {string} channel @param {string} quality
   * @param {Partial<Span>} [span]
   * @param {AbortSignal} [signal]
   * @returns {Promise<Coverage | null>} null where nothing is recorded yet
   */
  async coverage(channel, quality, span = {}, signal) {
    try {
      const told = await this.json(`/coverage/${part(channel)}/${part(quality)}`, { query: ends(span), signal, tries: 1 });
      // A record of weeks may have thousands of them.
      const spans = (/** @type {any[] | undefined} */ list) => mapInSlices(list ?? [], readSpan);
      const holes = await mapInSlices(told.holes, (/** @type {any} */ hole) => ({ ...readSpan(hole), lost: hole.lost }));
      return { ...readSpan(told), holes, unsure: await spans(told.unsure), hidden: await spans(told.hidden) };
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  /**
   * What the ledger knows of a span.
   * @param {string} channel @param {string} quality
   * @param {Partial<Span>} span
   * @param {AbortSignal} [signal]
   * @returns {Promise<Loss[]>}
   */
  async losses(channel, quality, span, signal) {
    const told = await this.json(`/losses/${part(channel)}/${part(quality)}`, { query: ends(span), signal, tries: 1 });
    return mapInSlices(told, (/** @type {any} */ loss) => ({
      ...readSpan(loss), cause: loss.cause, noticed: moment(loss.noticed), node: loss.node, detail: loss.detail, filled: loss.filled === true,
    }));
  }

  // Pictures and sound of it.

  /** @param {string} channel @param {string} quality @param {Micros} at */
  frameUrl(channel, quality, at) {
    return this.url(`/frame/${part(channel)}/${part(quality)}.png`, { timestamp: formatTime(at) });
  }

  /**
   * A picture, as an address for `img`; whoever asks revokes it.
   * @param {string} channel @param {string} quality @param {Micros} at
   * @param {AbortSignal} [signal]
   */
  async frame(channel, quality, at, signal) {
    const path = `/frame/${part(channel)}/${part(quality)}.png`;
    const answer = await this.ask(path, { query: { timestamp: formatTime(at) }, signal, deadline: MADE_DEADLINE_MS });
    return URL.createObjectURL(await answer.blob());
  }

  /**
   * @param {string} channel @param {string} quality
   * @param {Span} span @param {number} columns
   * @param {AbortSignal} [signal]
   * @returns {Promise<Waveform>}
   */
  async waveform(channel, quality, span, columns, signal) {
    const query = { ...ends(span), size: `${columns}x1` };
    const path = `/waveform/${part(channel)}/${part(quality)}.json`;
    const told = await this.json(path, { query, signal, deadline: MADE_DEADLINE_MS, tries: 2 });
    return { ...readSpan(told), peaks: told.peaks };
  }

  /** @param {string} channel */
  masterPath(channel) {
    return `/playlist/${part(channel)}.m3u8`;
  }

  /** Its text. @param {string} channel @param {string} query empty for live @param {AbortSignal} [signal] */
  async master(channel, query, signal) {
    return (await this.ask(this.masterPath(channel) + query, { signal, tries: 1 })).text();
  }

  /** @param {string} channel @param {string} quality @param {Record<string, string | number>} query */
  playlistUrl(channel, quality, query) {
    return this.url(`/playlist/${part(channel)}/${part(quality)}.m3u8`, query);
  }

  /** @param {string} channel @param {string} quality @param {Span} span @param {AbortSignal} [signal] */
  async playlist(channel, quality, span, signal) {
    const path = `/playlist/${part(channel)}/${part(quality)}.m3u8`;
    return (await this.ask(path, { query: ends(span), signal })).text();
  }

  // Cuts.

  /** @returns {Promise<Transition[]>} @param {AbortSignal} [signal] */
  transitions(signal) {
    return this.json("/thrimshim/transitions", { signal });
  }

  /** @param {string} number @param {AbortSignal} [signal] @returns {Promise<any>} */
  receipt(number, signal) {
    return this.json(`/cut/receipts/${part(number)}`, { signal });
  }

  // Events. What writes asks for a token where it is needed.

  /** @param {Record<string, string | number | undefined>} query @param {AbortSignal} [signal] @returns {Promise<{events: JobEvent[], next: string | null, unreadable: any[]}>} */
  events(query, signal) {
    return this.json("/api/v1/events", { query, signal });
  }

  /** @param {string} id @param {AbortSignal} [signal] @returns {Promise<JobEvent>} */
  event(id, signal) {
    return this.json(`/api/v1/events/${part(id)}`, { signal });
  }

  /** @param {string} id @param {AbortSignal} [signal] @returns {Promise<any[]>} */
  history(id, signal) {
    return this.json(`/api/v1/events/${part(id)}/history`, { signal });
  }

  /** Of the cut that its video is; 404 where there is none. @param {string} id @param {AbortSignal} [signal] @returns {Promise<any>} */
  eventReceipt(id, signal) {
    return this.json(`/api/v1/events/${part(id)}/receipt`, { signal });
  }

  /** @param {Record<string, unknown>} fields with the id @returns {Promise<JobEvent>} */
  addEvent(fields) {
    return this.json("/api/v1/events", { method: "POST", json: fields, signs: true });
  }

  /** @param {string} id @param {Record<string, unknown>} fields with `version`, and `state` for a step @returns {Promise<JobEvent>} */
  changeEvent(id, fields) {
    return this.json(`/api/v1/events/${part(id)}`, { method: "PATCH", json: fields, signs: true });
  }

  /** @param {string} id @param {"retry" | "cancel" | "reset"} step @returns {Promise<JobEvent>} */
  step(id, step) {
    return this.json(`/api/v1/events/${part(id)}/${step}`, { method: "POST", json: {}, signs: true });
  }

  /** @returns {Promise<Record<string, any>>} @param {AbortSignal} [signal] */
  defaults(signal) {
    return this.json("/thrimshim/defaults", { signal });
  }

  /** @returns {Promise<Template[]>} @param {AbortSignal} [signal] */
  templates(signal) {
    return this.json("/thrimshim/templates", { signal });
  }

  /** Whether the token is one; the name behind it. @returns {Promise<string>} */
  whoAmI() {
    return this.json("/thrimshim/auth-test", { method: "POST", json: {} });
  }
}

/** One part of a path. @param {string} text */
export function part(text) {
  return encodeURIComponent(text);
}

/** @param {Partial<Span>} span */
function ends({ start, end }) {
  return { start: start === undefined ? undefined : formatTime(start), end: end === undefined ? undefined : formatTime(end) };
}

/** @param {{start: string, end: string}} told @returns {Span} */
function readSpan(told) {
  return { start: moment(told.start), end: moment(told.end) };
}

/** @param {string} text @returns {Micros} */
function moment(text) {
  return parseTime(text) ?? 0;
}

/** @param {Response} answer */
async function refusal(answer) {
  const text = await answer.text().catch(() => "");
  let [code, detail] = ["error", text];
  try {
    ({ code, message: detail } = JSON.parse(text));
  } catch {
    // The existing editors' interface answers in plain text.
  }
  const plain = IN_PLAIN_WORDS[code] ?? (detail || `The node answered ${answer.status}.`);
  return new ApiError(plain, answer.status, code, detail);
}

/**
 * Longer with each failure, and never the same for two pages.
 * @param {number} failed how often, from 1 on
 * @param {number} [most] ms
 */
export function backoff(failed, most = 10_000) {
  return Math.min(most, 300 * 2 ** Math.min(failed - 1, 10)) * (0.75 + Math.random() / 2);
}

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function pause(ms, signal) {
  return new Promise((done, fail) => {
    const left = () => { clearTimeout(timer); fail(new ApiError("It was called off.", 0, "left")); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", left); done(); }, ms);
    if (signal?.aborted) left();
    else signal?.addEventListener("abort", left, { once: true });
  });
}

/** @param {string} text */
function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** What to say of anything that was thrown. @param {unknown} error */
export function inWords(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Whether it failed because nobody wanted it any more. @param {unknown} error */
export function wasLeft(error) {
  return error instanceof ApiError && error.code === "left";
}

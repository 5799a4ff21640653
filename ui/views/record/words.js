/** What the node's words mean, for people. */

import { SECOND, sayLength } from "../../time.js";

/**
 * @typedef {object} StreamState
 * @property {string} channel
 * @property {string} quality
 * @property {"recording" | "waiting" | "failing" | "ended" | null} phase
 * @property {string | null} newest
 * @property {number | null} lag_seconds
 */
/**
 * @typedef {object} PeerState
 * @property {string} url
 * @property {"not_asked" | "there" | "ourselves" | "copy" | "failing"} standing
 * @property {string | null} error
 * @property {number | null} behind_seconds
 * @property {number | null} clock_ahead_seconds
 * @property {number | null} bytes_per_second
 */
/** @typedef {{kind: string, name: string, alive: boolean, silent_seconds: number, restarts: number, ended_seconds_ago: number | null, panicked: boolean | null}} ActorState */
/** @typedef {{writable: boolean, free_bytes: number | null, size_bytes: number | null, min_free_bytes: number, full_in_seconds: number | null, held_bytes: number}} DiskState */
/**
 * @typedef {object} NodeState
 * @property {string} name
 * @property {string} version
 * @property {string} now
 * @property {number} uptime_seconds
 * @property {boolean} ready
 * @property {string | null} not_ready
 * @property {string[]} notes
 * @property {DiskState} disk
 * @property {{version: string | null, in_use: number}} ffmpeg
 * @property {StreamState[]} recording
 * @property {PeerState[] | null} peers
 * @property {ActorState[] | null} actors
 */
/** @typedef {{url: string | null, self: boolean, took_ms: number, error: string | null, state: NodeState | null, listed: StreamState[] | null}} NodeEntry */
/** @typedef {{tone: "good" | "warn" | "bad" | "faint", text: string}} Verdict */

/** A recorder that is further behind than this has a problem: sources list segments within a few seconds. */
export const LAGS_AFTER_SECONDS = 30;
/** A node that copies is this far behind at most when all is well: it compares every few minutes. */
const BEHIND_AFTER_SECONDS = 900;
/** A clock that is further off than this puts segments at wrong times. */
const CLOCK_OFF_AFTER_SECONDS = 3;
const FULL_SOON_SECONDS = 6 * 3600;

/** In plain words, with the colour of its kind. @type {Record<string, {text: string, colour: string}>} */
const CAUSES = {
  advertisement: { text: "advertisement, kept in quarantine", colour: "--cause-ad" },
  corrupt: { text: "went bad on the disk", colour: "--cause-disk" },
  disk: { text: "could not be written", colour: "--cause-disk" },
  token: { text: "the source refused it", colour: "--cause-token" },
  encrypted: { text: "encrypted, no key", colour: "--cause-token" },
  expired: { text: "gone before it could be fetched", colour: "--cause-source" },
  cut_short: { text: "only its beginning came", colour: "--cause-source" },
  source_down: { text: "the source could not be read", colour: "--cause-source" },
  unknown: { text: "cause unknown", colour: "--cause-unknown" },
};

/** @param {string} cause */
export function sayCause(cause) {
  return CAUSES[cause]?.text ?? cause;
}

/** @param {string} cause the name of a colour */
export function colourOf(cause) {
  return CAUSES[cause]?.colour ?? "--cause-unknown";
}

/** @param {number} bytes */
export function sayBytes(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let [left, unit] = [bytes, 0];
  while (left >= 1000 && unit < units.length - 1) [left, unit] = [left / 1000, unit + 1];
  return `${left >= 100 || unit === 0 ? Math.round(left) : left.toFixed(1)} ${units[unit]}`;
}

/** @param {number} seconds */
export function saySeconds(seconds) {
  return sayLength(seconds * SECOND);
}

/** What is said of a recorder. @param {StreamState} stream @returns {Verdict} */
export function sayStream({ phase, lag_seconds: lag }) {
  const behind = lag === null ? "" : `, newest ${saySeconds(Math.max(0, lag))} ago`;
  switch (phase) {
    case "recording":
      if (lag === null) return { tone: "warn", text: "reads its source, nothing saved yet" };
      return { tone: lag > LAGS_AFTER_SECONDS ? "bad" : "good", text: `recording${behind}` };
    case "waiting":
      return { tone: "faint", text: `waiting for the channel${behind}` };
    case "ended":
      return { tone: "faint", text: `the stream has ended${behind}` };
    case "failing":
      return { tone: "bad", text: `its source cannot be read${behind}` };
    default:
      return lag === null
        ? { tone: "warn", text: "unknown" }
        : { tone: lag > LAGS_AFTER_SECONDS ? "warn" : "good", text: `newest ${saySeconds(Math.max(0, lag))} ago` };
  }
}

/** @param {PeerState} peer @returns {Verdict} */
export function sayPeer(peer) {
  const clock = peer.clock_ahead_seconds ?? 0;
  const off = Math.abs(clock) > CLOCK_OFF_AFTER_SECONDS ? `, its clock is ${saySeconds(Math.abs(clock))} ${clock > 0 ? "ahead" : "behind"}` : "";
  const behind = peer.behind_seconds;
  switch (peer.standing) {
    case "there": {
      const far = behind === null ? "nothing to copy" : `compared ${saySeconds(behind)} ago, all is here`;
      return { tone: off || (behind ?? 0) > BEHIND_AFTER_SECONDS ? "warn" : "good", text: far + off };
    }
    case "copy":
      return { tone: "bad", text: "has a copy of this node's disk: give one of the two an id of its own" };
    case "ourselves":
      return { tone: "faint", text: "this node itself" };
    case "not_asked":
      return { tone: "faint", text: "not asked yet" };
    default: {
      const since = behind === null ? "" : `; all of it was here ${saySeconds(behind)} ago`;
      return { tone: "bad", text: `does not answer${since}` };
    }
  }
}

/** @param {DiskState} disk @returns {Verdict} */
export function sayDisk(disk) {
  const { free_bytes: free, size_bytes: size, full_in_seconds: full, held_bytes: held } = disk;
  if (free === null || size === null) return { tone: "faint", text: "not measured yet" };
  const room = `${sayBytes(free)} free of ${sayBytes(size)}`;
  const until = full === null ? "" : `, full in ${saySeconds(full)} if it goes on so`;
  const waiting = held > 0 ? `, ${sayBytes(held)} wait in memory` : "";
  if (!disk.writable) return { tone: "bad", text: `cannot be written: ${room}${waiting}` };
  const isShort = free < disk.min_free_bytes || (full !== null && full < FULL_SOON_SECONDS);
  return { tone: isShort ? "bad" : waiting ? "warn" : "good", text: room + until + waiting };
}

/** @param {ActorState[] | null} actors @returns {Verdict} */
export function sayRestarts(actors) {
  if (actors === null) return { tone: "warn", text: "the guardian does not answer" };
  const dead = actors.filter((actor) => !actor.alive || actor.silent_seconds > 30);
  const rebuilt = actors.filter((actor) => actor.restarts > 0);
  if (dead.length > 0) return { tone: "bad", text: `down just now: ${dead.map(sayActor).join(", ")}` };
  if (rebuilt.length === 0) return { tone: "good", text: `none; ${actors.length} parts run` };
  const of = (/** @type {ActorState} */ actor) => {
    const ago = actor.ended_seconds_ago === null ? "" : `, last ${saySeconds(actor.ended_seconds_ago)} ago`;
    return `${sayActor(actor)} ${actor.restarts}×${ago}${actor.panicked ? " after a panic" : ""}`;
  };
  const isFresh = rebuilt.some((actor) => (actor.ended_seconds_ago ?? Infinity) < 3600);
  return { tone: isFresh ? "warn" : "faint", text: rebuilt.map(of).join("; ") };
}

/** @param {ActorState} actor */
function sayActor(actor) {
  return `${actor.kind.replaceAll("_", " ")} ${actor.name}`.trim();
}

/** The one thing to know of a node. @param {NodeEntry} entry @returns {Verdict} */
export function judge({ error, state, listed }) {
  if (error) return { tone: "bad", text: "does not answer" };
  if (!state) return listed ? { tone: "faint", text: "lists its files" } : { tone: "warn", text: "unknown" };
  if (!state.ready) return { tone: "bad", text: state.not_ready ?? "not ready" };
  if (!state.disk.writable) return { tone: "bad", text: "disk cannot be written" };
  if (state.recording.some(({ phase }) => phase === "failing")) return { tone: "bad", text: "a source cannot be read" };
  if (state.recording.some((stream) => sayStream(stream).tone === "bad")) return { tone: "bad", text: "falls behind" };
  if (sayDisk(state.disk).tone === "bad") return { tone: "bad", text: "disk nearly full" };
  if (state.notes.length > 0) return { tone: "warn", text: "needs a look" };
  if (state.recording.length === 0) return { tone: "good", text: "copies from others" };
  if (state.recording.some(({ phase }) => phase === "recording")) return { tone: "good", text: "recording" };
  return { tone: "faint", text: "waiting" };
}

/** @param {NodeEntry} entry */
export function nameOf(entry) {
  return entry.state?.name ?? entry.url ?? "this node";
}

/** What an event's fields mean, for people. */

import { SECOND, parseTime, sayLength, showLength, showTime } from "../../time.js";

/** @typedef {import("../../api.js").JobEvent} JobEvent */
/** @typedef {{uploader: string, activity: string, done_bytes: number, total_bytes: number | null, percent?: number | null, ends_at: string | null, noted_at: string}} Progress */

/** In the order of an event's life. @type {{state: string, text: string, tone: string}[]} */
export const STATES = [
  { state: "UNEDITED", text: "to be edited", tone: "faint" },
  { state: "EDITED", text: "waiting to be cut", tone: "" },
  { state: "CLAIMED", text: "being cut", tone: "busy" },
  { state: "FINALIZING", text: "being published", tone: "busy" },
  { state: "TRANSCODING", text: "with the destination", tone: "busy" },
  { state: "DONE", text: "published", tone: "good" },
  { state: "MODIFIED", text: "changes to be sent", tone: "warn" },
];

/** States in which somebody works on it, and says how far. */
const BUSY = ["CLAIMED", "FINALIZING", "TRANSCODING"];

/** @param {JobEvent} event */
export function isBusy(event) {
  return BUSY.includes(event.state);
}

/** @param {JobEvent} event @returns {{text: string, tone: string}} */
export function sayState(event) {
  if (event.state === "UNEDITED" && event.error) return { text: "failed", tone: "bad" };
  if (event.state === "EDITED" && event.error) return { text: "will be tried again", tone: "warn" };
  return STATES.find(({ state }) => state === event.state) ?? { text: event.state, tone: "" };
}

/** What it is called. @param {JobEvent} event */
export function titleOf(event) {
  return event.video_title || event.description || event.id;
}

/** Of all its ranges together, in µs. @param {JobEvent} event */
export function lengthOf(event) {
  const ranges = /** @type {[string | null, string | null][]} */ (event.video_ranges ?? []);
  const transitions = /** @type {([string, number] | null)[]} */ (event.video_transitions ?? []);
  const whole = ranges.reduce((sum, [start, end]) => sum + Math.max(0, (time(end) ?? 0) - (time(start) ?? 0)), 0);
  return Math.max(0, whole - transitions.reduce((sum, transition) => sum + (transition ? transition[1] * SECOND : 0), 0));
}

/** @param {string | null | undefined} text */
export function time(text) {
  return text ? parseTime(text) : null;
}

/** @param {string | null | undefined} text */
export function when(text) {
  const at = time(text);
  return at === null ? "" : showTime(at, 0);
}

/** @param {JobEvent} event */
export function sayLengthOf(event) {
  const length = lengthOf(event);
  return length > 0 ? showLength(length, 0) : "";
}

/** Who has to do with it. @param {JobEvent} event */
export function sayWho(event) {
  const parts = [event.editor ? String(event.editor) : "", event.uploader ? `on ${event.uploader}` : ""];
  return parts.filter((part) => part).join(", ");
}

/** From 0 to 1; null where nobody can say. @param {Progress} progress @returns {number | null} */
export function shareOf({ done_bytes: done, total_bytes: total, percent }) {
  if (typeof percent === "number") return percent / 100;
  // How much there will be is an estimate until it is there.
  return total ? Math.min(0.99, done / total) : null;
}

/** @param {HTMLProgressElement} bar @param {Progress} progress */
export function showShare(bar, progress) {
  const share = shareOf(progress);
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

/** @param {Progress} progress */
export function sayProgress(progress) {
  const done = Number(progress.done_bytes);
  const share = shareOf(progress);
  const part = share !== null ? `, ${Math.floor(share * 100)} %` : done > 0 ? `, ${(done / 1e6).toFixed(1)} MB` : "";
  const ends = time(progress.ends_at);
  const left = ends === null ? "" : `, about ${sayLength(Math.max(0, ends - Date.now() * 1000))} left`;
  return `${progress.activity}${part}${left}`;
}

/** What may be done with it from where it is. @param {JobEvent} event */
export function actionsOf(event) {
  const { state } = event;
  return {
    // A new submission forgets the tries before.
    retry: Boolean(event.error) && (state === "UNEDITED" || state === "EDITED"),
    cancel: state === "EDITED" || state === "CLAIMED",
    reset: state !== "UNEDITED" && state !== "EDITED" && state !== "CLAIMED",
    edit: state !== "FINALIZING" && state !== "TRANSCODING",
    published: state === "DONE" || state === "MODIFIED",
  };
}

/** A field's name as people say it. @param {string} column */
export function sayColumn(column) {
  return column.replace(/^video_/, "").replaceAll("_", " ");
}

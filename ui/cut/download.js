/** A cut as a file, with progress, and with the node's own receipt at the end. */

import { inWords, wasLeft } from "../api.js";
import { Hold, button, el } from "../dom.js";
import { formatTime, showLength } from "../time.js";
import { cutQuery } from "./seam.js";
import * as drafts from "./draft.js";

/** @typedef {import("./draft.js").Draft} Draft */

/** What a file may be (README, Cuts), and how its name ends. */
export const TYPES = [
  { type: "smart", words: "Exact, MPEG-TS", ending: "ts" },
  { type: "mp4", words: "Exact, MP4", ending: "mp4" },
  { type: "mpegts", words: "Re-encoded, H.264 in MPEG-TS", ending: "ts" },
  { type: "webm", words: "Re-encoded, WebM", ending: "webm" },
  { type: "rough", words: "Whole segments, as they are", ending: "ts" },
  { type: "archive", words: "Whole segments, Matroska (one range)", ending: "mkv" },
];

/** What is gathered before it is handed to the browser, which keeps large pieces on the disk. */
const PIECE_BYTES = 8 << 20;
const RECEIPT_EVERY_MS = 1500;

/**
 * @param {import("../app.js").Context} context
 * @param {string} channel @param {string} quality
 * @param {Draft} draft
 * @param {string} type
 * @param {number} frameMicros
 * @param {HTMLElement} where what is said of it goes here
 */
export function download({ api, announce }, channel, quality, draft, type, frameMicros, where) {
  const hold = new Hold();
  const kind = TYPES.find((one) => one.type === type) ?? TYPES[0];
  const name = `${channel}_${formatTime(draft.ranges[0].start).replaceAll(":", "-").slice(0, 19)}.${kind.ending}`;
  const bar = el("progress", { max: "1", "aria-label": `Download of ${name}` });
  const said = el("p", { role: "status", class: "download-said" }, "It is being made …");
  const left = button("Stop", () => { hold.end(); end("Stopped."); });
  const box = el("div", { class: "download" }, el("strong", {}, name), bar, said, left);
  where.prepend(box);
  const frames = drafts.length(draft) / frameMicros;
  let bytes = 0;
  let number = "";

  const end = (/** @type {string} */ text, isBad = false) => {
    said.textContent = text;
    said.classList.toggle("bad", isBad);
    bar.hidden = true;
    left.replaceWith(button("Dismiss", () => box.remove()));
    announce(text);
    hold.end();
  };
  const size = () => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

  const look = async () => {
    if (!number || hold.ended) return;
    const receipt = await api.receipt(number, hold.signal).catch(() => null);
    const done = (receipt?.frames?.copied ?? 0) + (receipt?.frames?.re_encoded ?? 0);
    if (done > 0 && frames > 0) bar.value = Math.min(0.99, done / frames);
    if (!hold.ended) said.textContent = `${size()}${done > 0 ? `, ${Math.min(99, Math.round((100 * done) / frames))} % of ${showLength(drafts.length(draft))}` : ""}`;
  };

  const run = async () => {
    const more = /** @type {[string, string][]} */ ([["type", type], ...(draft.allowHoles ? [["allow_holes", "true"]] : [])]);
    const path = `/cut/${encodeURIComponent(channel)}/${encodeURIComponent(quality)}.ts`;
    const answer = await api.ask(path, { query: cutQuery(draft.ranges, draft.joints, more), signal: hold.signal, deadline: 140_000, tries: 1 });
    number = answer.headers.get("X-Segvault-Cut") ?? "";
    const whole = Number(answer.headers.get("Content-Length") ?? 0);
    hold.every(RECEIPT_EVERY_MS, () => void look());
    const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (answer.body).getReader();
    /** @type {Blob[]} */
    const pieces = [];
    /** @type {Uint8Array<ArrayBuffer>[]} */
    let gathered = [];
    let gatheredBytes = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (value) {
        gathered.push(value);
        gatheredBytes += value.length;
        bytes += value.length;
        if (whole > 0) bar.value = bytes / whole;
      }
      if (gatheredBytes >= PIECE_BYTES || (done && gatheredBytes > 0)) {
        pieces.push(new Blob(gathered));
        [gathered, gatheredBytes] = [[], 0];
      }
      if (done) break;
    }
    const receipt = number ? await api.receipt(number).catch(() => null) : null;
    if (receipt && receipt.outcome !== "done") throw new Error(`The cut broke off: ${receipt.error ?? receipt.outcome}`);
    save(new Blob(pieces, { type: answer.headers.get("Content-Type") ?? "" }), name);
    const passed = (receipt?.checks ?? []).filter((/** @type {any} */ check) => check.result === "passed").length;
    const all = (receipt?.frames?.copied ?? 0) + (receipt?.frames?.re_encoded ?? 0);
    end(`Done: ${size()}${all > 0 ? `, ${all} frames, ${receipt.frames.re_encoded} of them re-encoded` : ""}${passed > 0 ? `; ${passed} checks passed` : ""}.`);
  };
  run().catch((error) => {
    if (hold.ended || wasLeft(error)) return;
    // What fetch says of a body that breaks off is for programs.
    end(error instanceof TypeError ? "The cut broke off: the node ended it, or went away." : inWords(error), true);
  });
}

/** @param {Blob} file @param {string} name */
function save(file, name) {
  const address = URL.createObjectURL(file);
  const link = el("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

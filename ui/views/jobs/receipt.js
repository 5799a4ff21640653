/** The receipt of a job's cut: what was checked before the video went anywhere. */

import { ApiError, wasLeft } from "../../api.js";
import { el } from "../../dom.js";
import { say } from "../record/keep.js";

/** @typedef {import("../../api.js").JobEvent} JobEvent */

/** States in which a whole cut is there that somebody made. */
const CUT = ["FINALIZING", "TRANSCODING", "DONE", "MODIFIED"];
/** What the checks are called. @type {Record<string, string>} */
const CHECKS = {
  frame_count: "every frame is there", decoding_times_rise: "decoding times rise", no_clock_gap: "the clock has no gap",
  sound_starts_with_picture: "sound starts with the picture", sound_ends_with_picture: "sound ends with the picture",
};

/**
 * @param {string} id of the event
 * @param {import("../../api.js").Api} api
 * @param {import("../../dom.js").Hold} hold
 */
export function receiptOf(id, api, hold) {
  const [summary, list] = [el("summary"), el("ul", { class: "small" })];
  const element = el("details", { class: "receipt", hidden: true }, summary, list);
  let known = "";

  /** @param {JobEvent} event */
  async function look(event) {
    // A video that somebody linked by hand was cut by none of us.
    const key = CUT.includes(event.state) && event.uploader ? `${event.video_id} ${event.upload_time}` : "";
    if (key === known) return;
    known = key;
    if (key === "") {
      element.hidden = true;
      return;
    }
    try {
      show(await api.eventReceipt(id, hold.signal));
    } catch (error) {
      if (wasLeft(error)) return;
      element.hidden = true;
      // Whoever is away for a moment is asked again with the next change.
      if (!(error instanceof ApiError && error.status === 404)) known = "";
    }
  }

  /** @param {any} receipt */
  function show(receipt) {
    const frames = receipt.frames ?? null;
    const made = frames ? frames.copied + frames.re_encoded : 0;
    const passed = (receipt.checks ?? []).filter((/** @type {any} */ check) => check.result === "passed");
    const holes = receipt.holes?.length ?? 0;
    const counted = frames ? `${made} frames, ${frames.missing === 0 ? "none missing" : `${frames.missing} missing`}, ` : "";
    say(summary, `Receipt: ${counted}${passed.length} checks passed${holes > 0 ? `, ${holes} ${holes === 1 ? "hole" : "holes"} passed over` : ""}`);
    const lines = [
      `${(receipt.bytes / 1e6).toFixed(1)} MB, ${receipt.type}, of ${receipt.segments?.length ?? 0} segments`,
      frames ? `${frames.copied} frames as the source had them, ${frames.re_encoded} encoded anew` : "",
      receipt.mended_times > 0 ? `the source had the times of ${receipt.mended_times} frames wrong; they were mended` : "",
      ...(receipt.checks ?? []).map((/** @type {any} */ { check, result, found }) => `${CHECKS[check] ?? check}: ${result}${found ? ` (${found})` : ""}`),
      ...(receipt.holes ?? []).map((/** @type {any} */ { start, end }) => `hole from ${start} to ${end}`),
    ];
    list.replaceChildren(...lines.filter((line) => line).map((line) => el("li", {}, line)));
    element.hidden = false;
  }

  return { element, look };
}

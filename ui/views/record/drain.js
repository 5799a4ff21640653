/** "May this node be stopped?": asks, shows how far the answer is, and what speaks against it. */

import { inWords, wasLeft } from "../../api.js";
import { button, el, put } from "../../dom.js";
import { parseTime, showTime } from "../../time.js";
import { dress, say } from "./keep.js";
import { saySeconds } from "./words.js";

/** @typedef {{state: string, may_stop?: boolean, at?: string, why?: string, done_hours?: number, all_hours?: number, asked?: string[], silent?: string[], streams?: any[]}} Check */

const LOOK_EVERY_MS = 1000;
const MOST_SPANS = 20;

/**
 * @param {HTMLElement} root
 * @param {import("../../app.js").Context} context
 * @param {import("../../dom.js").Hold} hold
 */
export function drainCheck(root, { api, announce }, hold) {
  const ask = button("May this node be stopped?", () => void begin());
  const said = el("p", { class: "small" });
  const progress = el("progress", { max: 1, "aria-label": "How far the check is" });
  const against = el("ul", { class: "small mono against" });
  const element = el("div", { class: "drain" }, ask, progress, said, against);
  progress.hidden = true;
  put(root, element);
  let isFollowing = false;

  /** @param {Check} check */
  function show(check) {
    const isRunning = check.state === "running";
    ask.disabled = isRunning;
    progress.hidden = !isRunning;
    if (isRunning) {
      progress.value = check.all_hours ? (check.done_hours ?? 0) / check.all_hours : 0;
      say(said, `Asking the others, hour by hour: ${check.done_hours} of ${check.all_hours}`);
      dress(said, "small faint");
    } else if (check.state === "failed") {
      say(said, `It could not be found out: ${check.why}`);
      dress(said, "small bad");
    } else if (check.state === "done") {
      const answered = (check.asked ?? []).filter((url) => !check.silent?.includes(url)).length;
      const silent = check.silent?.length ?? 0;
      const asked = `${answered} other ${answered === 1 ? "node" : "nodes"} answered${silent > 0 ? `, ${silent} did not` : ""}`;
      const verdict = check.may_stop
        ? "Yes: others hold all of it"
        : "No: this is only here";
      say(said, `${verdict} (${asked}; as of ${when(check.at)})`);
      dress(said, `small ${check.may_stop ? "good" : "bad"}`);
    } else {
      say(said, "");
    }
    against.replaceChildren(...(check.state === "done" ? reasons(check) : []));
  }

  /** @param {Check} check */
  function reasons(check) {
    const silent = (check.silent ?? []).map((url) => el("li", {}, `${url} does not answer`));
    const streams = (check.streams ?? []).filter((stream) => stream.seconds > 0 || stream.chat > 0).map((stream) => {
      const spans = stream.spans.slice(0, MOST_SPANS).map((/** @type {string[]} */ [from, to]) => `${when(from)} – ${when(to)}`);
      const more = stream.spans.length > MOST_SPANS ? [`and ${stream.spans.length - MOST_SPANS} more`] : [];
      const chat = stream.chat > 0 ? `, ${stream.chat} batches of chat` : "";
      return el("li", {}, `${stream.channel} ${stream.quality}: ${saySeconds(stream.seconds)}${chat}`,
        el("ul", {}, ...[...spans, ...more].map((text) => el("li", {}, text))));
    });
    return [...streams, ...silent];
  }

  async function begin() {
    try {
      ask.disabled = true;
      show(await api.json("/api/v1/drain-check", { method: "POST", json: {}, signs: true }));
      void follow();
    } catch (error) {
      ask.disabled = false;
      if (!wasLeft(error)) announce(inWords(error), { urgent: true });
    }
  }

  async function follow() {
    if (isFollowing || hold.ended) return;
    isFollowing = true;
    try {
      const check = /** @type {Check} */ (await api.json("/api/v1/drain-check", { signal: hold.signal, tries: 1 }));
      show(check);
      if (check.state === "done") announce(said.textContent ?? "");
      if (check.state === "running") hold.after(LOOK_EVERY_MS, () => void follow());
    } catch (error) {
      if (!wasLeft(error)) hold.after(LOOK_EVERY_MS * 5, () => void follow());
    } finally {
      isFollowing = false;
    }
  }

  void follow();
}

/** @param {string | undefined} text */
function when(text) {
  const at = text ? parseTime(text) : null;
  return at === null ? (text ?? "") : showTime(at, 0);
}

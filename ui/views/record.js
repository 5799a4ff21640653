/**
 * The record: how each node is, what each has of a channel, what is hidden. All of it through this node, which asks the
 * others.
 */

import { inWords, wasLeft } from "../api.js";
import { Hold, el, put } from "../dom.js";
import { WINDOWS, coverageOf } from "./record/coverage.js";
import { say } from "./record/keep.js";
import { nodeCards } from "./record/nodes.js";
import { tombstonesOf } from "./record/tombstones.js";
import { nameOf } from "./record/words.js";

/** @typedef {import("./record/words.js").NodeEntry} NodeEntry */

const NODES_EVERY_MS = 2500;
const STREAMS_EVERY_MS = 60_000;
const USUAL_WINDOW = 3600;

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").Context} context
 * @returns {import("../app.js").Mounted}
 */
export function mount(root, context) {
  const { api, params } = context;
  const hold = new Hold();
  /** @type {Map<string, string>} names of nodes by their addresses; this one's is under "" */
  const names = new Map();
  const named = (/** @type {string | null} */ url) => names.get(url ?? "") ?? url ?? "this node";

  const fault = el("p", { class: "notice", hidden: true });
  const nodes = el("section", { "aria-labelledby": "record-nodes" }, el("h2", { id: "record-nodes" }, "Nodes"));
  const channels = el("select", { name: "channel" });
  const qualities = el("select", { name: "quality" });
  const windows = el("select", { name: "window" }, ...WINDOWS.map(({ seconds, text }) => el("option", { value: seconds }, text)));
  const nothing = el("p", { hidden: true }, "Nothing has been recorded yet.");
  const picker = el("div", { class: "row" },
    el("label", {}, "Channel", channels), el("label", {}, "Quality", qualities), el("label", {}, "The last", windows));
  const coverage = el("section", { "aria-labelledby": "record-coverage" },
    el("h2", { id: "record-coverage" }, "What each node has"), picker, nothing);
  const tombstones = el("section", { "aria-labelledby": "record-tombstones" }, el("h2", { id: "record-tombstones" }, "Hidden"));
  put(root, el("h1", {}, "The record"), fault, nodes, coverage, tombstones);

  const showNodes = nodeCards(nodes, context, hold, named);
  const covered = coverageOf(coverage, context, hold, named);
  const hidden = tombstonesOf(tombstones, context, hold, named);

  /** @type {Map<string, string[]>} */
  const streams = new Map();
  const wanted = { channel: params.channel ?? "", quality: params.quality ?? "", window: Number(params.window) || USUAL_WINDOW };
  if (!WINDOWS.some(({ seconds }) => seconds === wanted.window)) wanted.window = USUAL_WINDOW;
  let turnedTo = "";

  /** Adds what is new; nothing goes while somebody looks at it. @param {string} channel @param {string} quality */
  function add(channel, quality) {
    if (quality === "chat") return false;
    const of = streams.get(channel) ?? [];
    if (of.includes(quality)) return false;
    streams.set(channel, [...of, quality]);
    return true;
  }

  function turn() {
    const all = [...streams.keys()].sort();
    nothing.hidden = all.length > 0;
    picker.hidden = all.length === 0;
    if (all.length === 0) return;
    if (!streams.has(wanted.channel)) wanted.channel = all[0];
    const of = streams.get(wanted.channel) ?? [];
    if (!of.includes(wanted.quality)) wanted.quality = of.includes("source") ? "source" : of[0];
    offer(channels, all, wanted.channel);
    offer(qualities, of, wanted.quality);
    windows.value = String(wanted.window);
    hidden.turnTo(wanted.channel, of);
    const to = JSON.stringify(wanted);
    if (to === turnedTo) return;
    turnedTo = to;
    covered.turnTo(wanted.channel, wanted.quality, wanted.window);
  }

  function pick() {
    Object.assign(wanted, { channel: channels.value, quality: qualities.value, window: Number(windows.value) });
    turn();
    const window = wanted.window === USUAL_WINDOW ? "" : String(wanted.window);
    context.navigate("record", { channel: wanted.channel, quality: wanted.quality, window }, { replace: true });
  }
  for (const select of [channels, qualities, windows]) hold.on(select, "change", pick);

  let isAsking = false;
  async function look() {
    if (isAsking || document.hidden || hold.ended) return;
    isAsking = true;
    try {
      const told = /** @type {{nodes: NodeEntry[]}} */ (await api.json("/api/v1/nodes", { signal: hold.signal, tries: 1 }));
      fault.hidden = true;
      for (const entry of told.nodes) names.set(entry.url ?? "", nameOf(entry));
      showNodes(told.nodes);
      const found = told.nodes.flatMap(({ state }) => state?.recording ?? []).map(({ channel, quality }) => add(channel, quality));
      if (found.includes(true)) turn();
    } catch (error) {
      if (wasLeft(error)) return;
      say(fault, inWords(error));
      fault.hidden = false;
    } finally {
      isAsking = false;
    }
  }

  /** What lies there and is not recorded any more, or never was. */
  async function lookForStreams() {
    try {
      for (const channel of await api.channels(hold.signal)) {
        for (const quality of await api.qualities(channel, hold.signal)) add(channel, quality);
      }
      turn();
    } catch (error) {
      if (!wasLeft(error)) hold.after(NODES_EVERY_MS, () => void lookForStreams());
    }
  }

  hold.every(NODES_EVERY_MS, () => void look());
  hold.every(STREAMS_EVERY_MS, () => void lookForStreams());
  hold.on(document, "visibilitychange", () => void look());
  void look();
  void lookForStreams();
  return { unmount: () => hold.end() };
}

/** @param {HTMLSelectElement} select @param {string[]} values @param {string} chosen */
function offer(select, values, chosen) {
  const known = [...select.options].map((option) => option.value);
  if (known.join("\n") !== values.join("\n")) {
    select.replaceChildren(...values.map((value) => el("option", { value }, value)));
  }
  select.value = chosen;
}

/** How each node is: a card for each, which stays in its place while what it says changes. */

import { el, put } from "../../dom.js";
import { drainCheck } from "./drain.js";
import { dress, follower, say } from "./keep.js";
import { judge, nameOf, sayDisk, sayPeer, sayRestarts, saySeconds, sayStream } from "./words.js";

/** @typedef {import("./words.js").NodeEntry} NodeEntry */
/** @typedef {import("./words.js").Verdict} Verdict */
/** @typedef {import("../../dom.js").Hold} Hold */
/** @typedef {import("../../app.js").Context} Context */

/**
 * @param {HTMLElement} root
 * @param {Context} context
 * @param {Hold} hold
 * @param {(url: string | null) => string} named
 * @returns {(entries: NodeEntry[]) => void}
 */
export function nodeCards(root, context, hold, named) {
  const list = el("div", { class: "nodes" });
  put(root, list);
  const follow = follower(list, (/** @type {NodeEntry} */ entry) => entry.url ?? "", (entry) => card(entry, context, hold, named));
  /** @type {Map<string, string>} */
  const told = new Map();
  return (entries) => {
    follow(entries);
    for (const entry of entries) {
      const { text } = judge(entry);
      const before = told.get(entry.url ?? "");
      if (before !== undefined && before !== text) context.announce(`${nameOf(entry)}: ${text}`);
      told.set(entry.url ?? "", text);
    }
  };
}

/**
 * @param {NodeEntry} first
 * @param {Context} context
 * @param {Hold} hold
 * @param {(url: string | null) => string} named
 */
function card(first, context, hold, named) {
  const title = el("h3");
  const verdict = el("span");
  const where = first.self ? el("span", { class: "faint" }, "this node") : el("a", { href: `${first.url}/#/record` }, first.url ?? "");
  const since = el("p", { class: "faint small" });
  const notes = el("ul", { class: "notes warn" });
  const facts = el("dl", { class: "facts" });
  const recording = fact(facts, "Recording");
  const disk = fact(facts, "Disk");
  const peers = fact(facts, "Copies from");
  const restarts = fact(facts, "Restarts");
  const meter = el("meter", { min: 0, max: 1, low: 0.85, high: 0.95, optimum: 0, "aria-label": "Used part of the disk" });
  const room = el("span");
  put(disk.body, meter, room);
  const followNotes = follower(notes, (/** @type {Line} */ one) => one.key, () => line());
  const followStreams = follower(recording.body, (/** @type {Line} */ one) => one.key, () => line());
  const followPeers = follower(peers.body, (/** @type {Line} */ one) => one.key, () => line());
  const element = el("section", { class: "panel node", "data-node": first.url ?? "self" },
    el("header", {}, el("div", { class: "row" }, title, verdict), el("p", { class: "small where" }, where)),
    notes, facts, since);
  if (first.self) drainCheck(element, context, hold);

  return {
    element,
    update: (/** @type {NodeEntry} */ entry) => {
      const { state } = entry;
      const { tone, text } = judge(entry);
      say(title, nameOf(entry));
      say(verdict, text);
      dress(verdict, `pill ${tone}`);
      followNotes([...(entry.error ? [entry.error] : []), ...(state?.notes ?? [])].map((note) => ({ key: note, text: note, tone: "warn" })));
      notes.hidden = notes.children.length === 0;
      const streams = state?.recording ?? entry.listed ?? [];
      followStreams(streams.map((stream) => {
        const said = sayStream(stream);
        return { key: `${stream.channel}/${stream.quality}`, name: `${stream.channel} ${stream.quality}`, ...said };
      }));
      recording.show(streams.length > 0);
      disk.show(state !== null);
      restarts.show(state !== null);
      peers.show((state?.peers ?? []).length > 0);
      if (!state) {
        say(since, entry.listed ? "It does not say how it is: a node of the existing system, or an older one. This is what it lists." : "");
        return;
      }
      const said = sayDisk(state.disk);
      say(room, said.text);
      dress(room, said.tone);
      const { free_bytes: free, size_bytes: size } = state.disk;
      meter.hidden = free === null || !size;
      if (free !== null && size) meter.value = 1 - free / size;
      followPeers((state.peers ?? []).map((peer) => ({ key: peer.url, name: named(peer.url), ...sayPeer(peer) })));
      const again = sayRestarts(state.actors);
      say(restarts.body, again.text);
      dress(restarts.body, again.tone);
      say(since, `Up for ${saySeconds(state.uptime_seconds)}, version ${state.version}${state.ffmpeg.version ? "" : ", without ffmpeg"}`);
    },
  };
}

/** @typedef {{key: string, name?: string, text: string, tone: string}} Line */

function line() {
  const name = el("span", { class: "name" });
  const said = el("span");
  const element = el("li", {}, name, " ", said);
  return {
    element,
    update: (/** @type {any} */ one) => {
      say(name, one.name ?? "");
      say(said, one.text);
      dress(said, one.tone);
    },
  };
}

/**
 * @param {HTMLElement} facts
 * @param {string} name
 */
function fact(facts, name) {
  const isList = name !== "Disk" && name !== "Restarts";
  const term = el("dt", {}, name);
  const body = isList ? el("ul") : el("div");
  const holder = el("dd", {}, body);
  put(facts, el("div", { class: "fact" }, term, holder));
  return { body, show: (/** @type {boolean} */ isShown) => { /** @type {HTMLElement} */ (term.parentElement).hidden = !isShown; } };
}

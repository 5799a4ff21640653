/** What every node has of a channel, side by side, and what is missing here: why, and who has it. */

import { inWords, wasLeft } from "../../api.js";
import { el, put } from "../../dom.js";
import { SECOND, formatTime, now, parseTime, showTime } from "../../time.js";
import { dress, follower, say } from "./keep.js";
import { mainCause, paint } from "./strip.js";
import { sayCause, saySeconds } from "./words.js";

/** @typedef {import("./strip.js").Span} Span */
/** @typedef {import("./strip.js").Hole} Hole */
/** @typedef {import("../../time.js").Micros} Micros */
/** @typedef {Span & {begins: Micros | null, holes: Hole[], unsure: Span[], hidden: Span[]}} Covered `begins` is when all of it does, where that is known */
/** @typedef {{url: string | null, self: boolean, error: string | null, listed: boolean, covered: Covered | null}} NodeCoverage */
/** @typedef {{url: string | null, name: string}} Named */

/** @type {{seconds: number, text: string, every: number}[]} with how often to look, in ms */
export const WINDOWS = [
  { seconds: 600, text: "10 min", every: 1500 },
  { seconds: 3600, text: "1 h", every: 1500 },
  { seconds: 6 * 3600, text: "6 h", every: 3000 },
  { seconds: 24 * 3600, text: "1 day", every: 5000 },
  { seconds: 7 * 24 * 3600, text: "7 days", every: 15_000 },
  { seconds: 30 * 24 * 3600, text: "30 days", every: 60_000 },
];

/** What is not there yet may still come: segments are listed whole, some seconds after their time. */
const PENDING = 25 * SECOND;
const MOST_HOLES = 200;
/** What the ledger says changes seldom. */
const LEDGER_EVERY_MS = 8000;
/** A node that lacks no more than this of a hole has it, as people would say. */
const SLIVER = 50_000;

/**
 * @param {HTMLElement} root
 * @param {import("../../app.js").Context} context
 * @param {import("../../dom.js").Hold} hold
 * @param {(url: string | null) => string} nameOf
 */
export function coverageOf(root, context, hold, nameOf) {
  const { api } = context;
  const strips = el("div", { class: "strips" });
  const axis = el("div", { class: "axis small faint mono" });
  const fault = el("p", { class: "notice", hidden: true });
  const summary = el("p", { class: "small" });
  const rows = el("tbody");
  const table = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What is missing on this node" },
    el("table", { class: "holes" },
      el("thead", {}, el("tr", {}, ...["From, UTC", "Length", "Cause", "Elsewhere"].map((text) => el("th", { scope: "col" }, text)))), rows));
  put(root, fault, strips, axis, legend(), el("h3", {}, "Missing on this node"), summary, table);

  /** @type {{channel: string, quality: string, window: number} | null} */
  let asked = null;
  /** @type {NodeCoverage[]} */
  let latest = [];
  /** @type {Span} */
  let span = { start: 0, end: 1 };
  /** @type {AbortController | null} */
  let asking = null;
  let stop = () => {};
  /** What this node's ledger says of the same time. @type {import("../../api.js").Loss[]} */
  let losses = [];

  const followStrips = follower(strips, (/** @type {NodeCoverage} */ node) => node.url ?? "", strip);
  const followHoles = follower(rows, (/** @type {HoleRow} */ row) => String(row.hole.start), holeRow);

  /** @param {NodeCoverage} first */
  function strip(first) {
    const name = el("span", { class: "name" });
    const said = el("span", { class: "small" });
    const canvas = el("canvas", { role: "img" });
    const element = el("div", { class: "strip", "data-node": first.url ?? "self" }, el("div", { class: "row" }, name, said), canvas);
    return {
      element,
      update: (/** @type {NodeCoverage} */ node) => {
        const { text, tone } = inShort(node);
        say(name, nameOf(node.url));
        say(said, text);
        dress(said, `small ${tone}`);
        canvas.setAttribute("aria-label", `${nameOf(node.url)}: ${text}`);
        canvas.hidden = node.error !== null;
        paint(canvas, span, node.covered);
      },
    };
  }

  /** @typedef {{hole: Hole, others: NodeCoverage[], channel: string, quality: string}} HoleRow */

  function holeRow() {
    const when = el("a", { class: "mono" });
    const [length, cause, elsewhere] = [el("td", { class: "mono" }), el("td"), el("td")];
    const element = el("tr", {}, el("td", {}, when), length, cause, elsewhere);
    return {
      element,
      update: (/** @type {HoleRow} */ { hole, others, channel, quality }) => {
        say(when, showTime(hole.start, 1));
        when.href = context.address("watch", { channel, quality, at: formatTime(Math.max(0, hole.start - 5 * SECOND)) });
        say(length, saySeconds((hole.end - hole.start) / SECOND));
        const main = mainCause(hole);
        const noted = losses.filter((loss) => !loss.filled && shared(hole, [loss]) > 0);
        const details = [...new Set(noted.map(({ detail, node }) => `${detail} (${node})`))].slice(0, 3).join("; ");
        say(cause, main ? `${sayCause(main)}${details ? `: ${details}` : ""}` : "nothing is known of it");
        const [text, tone] = whoHas(hole, others);
        say(elsewhere, text);
        dress(elsewhere, tone);
      },
    };
  }

  /** @param {Hole} hole @param {NodeCoverage[]} others @returns {[string, string]} */
  function whoHas(hole, others) {
    const telling = others.filter(({ covered }) => covered);
    if (telling.length === 0) return ["nobody to ask", "faint"];
    const lacks = (/** @type {Covered} */ { holes }) => shared(hole, holes);
    const having = telling.filter(({ covered }) => covered && lacks(covered) <= SLIVER).map(({ url }) => nameOf(url));
    if (having.length > 0) return [`${having.join(", ")} ${having.length === 1 ? "has" : "have"} it`, "good"];
    const partly = telling.some(({ covered }) => covered && lacks(covered) < hole.end - hole.start - SLIVER);
    return partly ? ["others have a part of it", "warn"] : ["nobody has it", "bad"];
  }

  function show() {
    followStrips(latest);
    const own = latest.find((node) => node.self)?.covered ?? null;
    const others = latest.filter((node) => !node.self);
    const holes = own ? settled(own, span) : [];
    const shown = holes.slice(-MOST_HOLES).reverse();
    const where = asked ?? { channel: "", quality: "" };
    followHoles(shown.map((hole) => ({ hole, others, channel: where.channel, quality: where.quality })));
    const missing = holes.reduce((sum, hole) => sum + hole.end - hole.start, 0) / SECOND;
    const left = holes.length > shown.length ? ` The latest ${shown.length} are listed.` : "";
    const back = losses.filter(({ filled }) => filled).reduce((sum, loss) => sum + loss.end - loss.start, 0) / SECOND;
    const came = back > 0 ? ` ${saySeconds(back)} were lost and came back.` : "";
    say(summary, !own ? "" : `${holes.length === 0
      ? "Nothing."
      : `${saySeconds(missing)} in ${holes.length === 1 ? "one hole" : `${holes.length} holes`}.${left}`}${came}`);
    table.hidden = holes.length === 0;
    axis.replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((part) =>
      el("span", {}, showTime(span.start + part * (span.end - span.start), 0).slice(span.end - span.start > 30 * 3600 * SECOND ? 5 : 11, 16))));
  }

  async function look() {
    if (!asked || asking || document.hidden || hold.ended) return;
    const mine = asked;
    const ending = new AbortController();
    asking = ending;
    try {
      const path = `/api/v1/coverage/${encodeURIComponent(mine.channel)}/${encodeURIComponent(mine.quality)}`;
      const told = await api.json(path, { query: { window: mine.window }, signal: AbortSignal.any([ending.signal, hold.signal]), tries: 1 });
      if (mine !== asked || hold.ended) return;
      span = spanOf(told);
      latest = told.nodes.map((/** @type {any} */ node) => ({ ...node, covered: node.coverage && read(node.coverage) }));
      fault.hidden = true;
      show();
    } catch (error) {
      if (mine !== asked || wasLeft(error)) return;
      say(fault, inWords(error));
      fault.hidden = false;
    } finally {
      if (asking === ending) asking = null;
    }
  }

  async function lookAtLedger() {
    if (!asked || document.hidden || hold.ended) return;
    const mine = asked;
    try {
      const end = now();
      const told = await api.losses(mine.channel, mine.quality, { start: end - mine.window * SECOND, end }, hold.signal);
      if (mine !== asked) return;
      losses = told;
      show();
    } catch (error) {
      // The holes are shown without; what else is wrong is told by them.
      if (!wasLeft(error) && mine === asked) losses = [];
    }
  }
  hold.every(LEDGER_EVERY_MS, () => void lookAtLedger());

  const repaint = () => { if (latest.length > 0) followStrips(latest); };
  const sizes = new ResizeObserver(repaint);
  sizes.observe(strips);
  hold.add(() => sizes.disconnect());
  hold.on(document, "themechange", repaint);
  hold.on(matchMedia("(prefers-color-scheme: light)"), "change", repaint);
  hold.on(document, "visibilitychange", () => void look());

  return {
    look,
    /** @param {string} channel @param {string} quality @param {number} window in seconds */
    turnTo(channel, quality, window) {
      asking?.abort();
      asking = null;
      stop();
      asked = { channel, quality, window };
      latest = [];
      losses = [];
      const end = now();
      span = { start: end - window * SECOND, end };
      show();
      stop = hold.every(WINDOWS.find(({ seconds }) => seconds === window)?.every ?? 5000, () => void look());
      void look();
      void lookAtLedger();
    },
  };
}

/**
 * Those that are not merely too young to be there, nor before there was anything, nor what somebody has hidden.
 * @param {Covered} covered @param {Span} span
 */
function settled({ begins, holes, hidden }, span) {
  const isHidden = (/** @type {Hole} */ hole) => shared(hole, hidden) >= hole.end - hole.start - SLIVER;
  const isBefore = (/** @type {Hole} */ hole) => begins !== null && hole.end <= begins && Object.keys(hole.lost).length === 0;
  return holes.filter((hole) => !isBefore(hole) && !isHidden(hole) && (hole.end < span.end || hole.start < span.end - PENDING));
}

/** How much of a span lies in others, none of which overlap. @param {Span} span @param {Span[]} others */
function shared(span, others) {
  return others.reduce((sum, { start, end }) => sum + Math.max(0, Math.min(end, span.end) - Math.max(start, span.start)), 0);
}

/** @param {NodeCoverage} node @returns {{text: string, tone: string}} */
function inShort({ error, covered, listed }) {
  if (error) return { text: error, tone: "bad" };
  if (!covered) return { text: "has nothing of this", tone: "faint" };
  const holes = settled(covered, covered);
  const missing = holes.reduce((sum, hole) => sum + hole.end - hole.start, 0) / SECOND;
  const since = covered.begins !== null && covered.begins > covered.start ? ` since ${showTime(covered.begins, 0)}` : "";
  const by = since + (listed ? ", as it lists" : "");
  const unsure = covered.unsure.reduce((sum, part) => sum + part.end - part.start, 0) / SECOND;
  const doubt = unsure > 0 ? `, ${saySeconds(unsure)} partial or suspect` : "";
  if (holes.length === 0) return { text: `whole${doubt}${by}`, tone: unsure > 0 ? "warn" : "good" };
  return { text: `${saySeconds(missing)} missing in ${holes.length === 1 ? "one hole" : `${holes.length} holes`}${doubt}${by}`, tone: "warn" };
}

/** @param {any} told @returns {Span} */
function spanOf(told) {
  return { start: parseTime(told.start) ?? 0, end: parseTime(told.end) ?? 0 };
}

/** @param {any} told @returns {Covered} */
function read(told) {
  return {
    ...spanOf(told),
    begins: told.begins ? parseTime(told.begins) : null,
    holes: told.holes.map((/** @type {any} */ hole) => ({ ...spanOf(hole), lost: hole.lost })),
    unsure: told.unsure.map(spanOf),
    hidden: told.hidden.map(spanOf),
  };
}

function legend() {
  const entries = [
    ["have", "there"], ["unsure", "partial or suspect"], ["track", "not there"], ["cause-source", "lost at the source"],
    ["cause-token", "refused or encrypted"], ["cause-disk", "lost on the disk"], ["cause-ad", "advertisement"],
    ["cause-unknown", "lost, cause unknown"], ["hidden", "under a tombstone"],
  ];
  return el("ul", { class: "legend small", "aria-label": "What the colours mean" },
    ...entries.map(([name, text]) => el("li", {}, el("i", { class: `is-${name}`, "aria-hidden": "true" }), text)));
}

/**
 * The jobs: what is to be cut, what is being cut and by whom, and what became of it. A page of events at a time, which
 * follows what happens anywhere; one of them beside it.
 */

import { inWords, wasLeft } from "../api.js";
import { Hold, button, el, put } from "../dom.js";
import { eventPanel } from "./jobs/event.js";
import { filterForm, readFilters, toParams, toQuery } from "./jobs/filters.js";
import { isBusy, sayLengthOf, sayProgress, sayState, sayWho, showShare, titleOf, when } from "./jobs/words.js";
import { dress, follower, say } from "./record/keep.js";

/** @typedef {import("../api.js").JobEvent} JobEvent */

/** Rows at once: the page stays light, however many events there are. */
const PAGE = 50;
/** What changes in a burst is looked at once. */
const GATHER_MS = 400;
const PROGRESS_EVERY_MS = 3000;
/** Of so many rows that are being worked on it is shown how far. */
const MOST_FOLLOWED = 6;

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").Context} context
 * @returns {import("../app.js").Mounted}
 */
export function mount(root, context) {
  const { api, live, params, announce } = context;
  const hold = new Hold();
  let filters = readFilters(params);
  let chosen = params.event ?? "";
  /** Where the pages before this one began. @type {string[]} */
  const before = [];
  /** @type {JobEvent[]} */
  let events = [];
  let next = /** @type {string | null} */ (null);

  const fault = el("p", { class: "notice", hidden: true });
  const summary = el("p", { class: "small faint", role: "status" });
  const rows = el("tbody");
  const list = el("table", { class: "jobs" },
    el("caption", { class: "unseen" }, "Events"),
    el("thead", {}, el("tr", {}, ...["State", "What", "Begins, UTC", "Length", "Who"].map((text) => el("th", { scope: "col" }, text)))), rows);
  const newer = button("Back", () => { turnPage(before.pop() ?? ""); });
  const older = button("Next", () => { if (next) { before.push(filters.after); turnPage(next); } });
  const beside = el("div", { class: "beside" });
  const split = el("div", { class: "split" },
    el("div", {}, fault, summary, list, el("div", { class: "row pages" }, newer, older)), beside);
  const form = filterForm(filters, context, hold, (changed) => {
    filters = changed;
    before.length = 0;
    keepAddress();
    void look();
  });
  put(root, el("h1", {}, "Jobs"), form, split);
  const follow = follower(rows, (/** @type {JobEvent} */ event) => event.id, row);

  function row() {
    const state = el("span");
    const link = el("a");
    const progress = el("progress", { max: 1, class: "slim" });
    const more = el("span", { class: "small" });
    const [start, length, who] = [el("td", { class: "mono" }), el("td", { class: "mono" }), el("td")];
    const element = el("tr", {}, el("td", {}, state), el("td", { class: "what" }, link, progress, more), start, length, who);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      choose(link.dataset.id ?? "", true);
    });
    return {
      element,
      update: (/** @type {JobEvent} */ event) => {
        const { text, tone } = sayState(event);
        say(state, text);
        dress(state, `pill ${tone}`);
        say(link, titleOf(event));
        link.dataset.id = event.id;
        link.href = context.address("jobs", { ...toParams(filters), event: event.id });
        if (event.id === chosen) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
        const of = isBusy(event) ? event.progress : null;
        progress.hidden = !of;
        progress.setAttribute("aria-label", `Progress of ${titleOf(event)}`);
        if (of) showShare(progress, of);
        say(more, of ? sayProgress(of) : event.error ? String(event.error) : "");
        dress(more, of ? "small faint" : "small bad");
        say(start, when(event.event_start));
        say(length, sayLengthOf(event));
        say(who, sayWho(event));
      },
    };
  }

  function show() {
    follow(events);
    list.hidden = events.length === 0;
    newer.hidden = filters.after === "";
    older.hidden = next === null;
    const isFiltered = Object.values(toParams({ ...filters, order: "newest", after: "" })).some((value) => value);
    say(summary, events.length > 0
      ? `${events.length} ${events.length === 1 ? "event" : "events"}${next ? ", and more" : ""}${filters.after ? " on this page" : ""}`
      : isFiltered ? "There is no such event." : "There are no events yet. Mark ranges in Watch and file them in Cut.");
  }

  // Which page.

  function keepAddress() {
    context.navigate("jobs", { ...toParams(filters), event: chosen }, { replace: true });
  }

  /** @param {string} after */
  function turnPage(after) {
    filters = { ...filters, after };
    keepAddress();
    root.scrollIntoView({ block: "start" });
    void look();
  }

  let turn = 0;
  async function look() {
    const mine = ++turn;
    try {
      const told = await api.json("/api/v1/events", { query: toQuery(filters, PAGE), signal: hold.signal });
      if (mine !== turn || hold.ended) return;
      const known = new Map(events.map((event) => [event.id, event]));
      events = told.events.map((/** @type {JobEvent} */ event) => ({ ...event, progress: known.get(event.id)?.progress ?? null }));
      next = told.next;
      say(fault, told.unreadable.length > 0
        ? `${told.unreadable.length} events cannot be read: ${told.unreadable.map((/** @type {any} */ one) => `${one.id} (${one.why})`).join(", ")}` : "");
      fault.hidden = told.unreadable.length === 0;
      show();
    } catch (error) {
      if (mine !== turn || wasLeft(error)) return;
      say(fault, inWords(error));
      fault.hidden = false;
      hold.after(5000, () => { if (mine === turn) void look(); });
    }
  }

  /** @param {JobEvent} now */
  function take(now) {
    const place = events.findIndex((event) => event.id === now.id);
    if (place < 0 || events[place].version > now.version) return;
    const { text } = sayState(events[place]);
    events[place] = now;
    if (text !== sayState(now).text) announce(`${titleOf(now)}: ${sayState(now).text}`);
    show();
  }

  /** @param {string} id */
  async function lookAt(id) {
    try {
      take(await api.event(id, hold.signal));
    } catch (error) {
      if (!wasLeft(error)) void look();
    }
  }

  // What happens.

  /** @type {Set<string>} */
  const changed = new Set();
  let endGathering = () => {};
  function gather() {
    endGathering();
    endGathering = hold.after(GATHER_MS, () => {
      const ids = [...changed];
      changed.clear();
      // Many at once, and those that are not on this page yet: all of it is asked for again.
      const areHere = ids.every((id) => events.some((event) => event.id === id));
      if (areHere && ids.length <= MOST_FOLLOWED) ids.forEach((id) => void lookAt(id));
      else void look();
    });
  }
  hold.add(live.events((line) => {
    changed.add(line.event_id);
    gather();
    if (line.event_id === chosen) panel?.changed();
  }, () => { void look(); panel?.changed(); }));
  hold.every(PROGRESS_EVERY_MS, () => {
    if (document.hidden) return;
    const busy = events.filter((event) => isBusy(event) && event.id !== chosen).slice(0, MOST_FOLLOWED);
    busy.forEach(({ id }) => void lookAt(id));
  });

  // The one beside.

  /** @type {{element: HTMLElement, title: HTMLElement, changed: () => void} | null} */
  let panel = null;
  let panelHold = new Hold();
  hold.add(() => panelHold.end());

  /** @param {string} id @param {boolean} moves the focus */
  function choose(id, moves) {
    panelHold.end();
    panelHold = new Hold();
    panel = null;
    const last = chosen;
    chosen = id;
    beside.replaceChildren();
    split.classList.toggle("is-open", id !== "");
    keepAddress();
    show();
    if (!id) {
      rows.querySelector(`a[data-id="${CSS.escape(last)}"]`)?.dispatchEvent(new Event("focus"));
      /** @type {HTMLElement | null} */ (rows.querySelector(`a[data-id="${CSS.escape(last)}"]`))?.focus();
      return;
    }
    panel = eventPanel(id, context, panelHold, take);
    const close = button("Close", () => choose("", true), { class: "quiet close" });
    panel.element.prepend(close);
    put(beside, panel.element);
    if (moves) panel.title.focus();
  }

  if (chosen) choose(chosen, false);
  return { unmount: () => hold.end() };
}

/**
 * One event: what became of it, what can be done with it, and changing what is said about it. What somebody has typed is theirs
 * until it is saved or dropped: it outlives a conflict, a reload and a node that is away.
 */

import { ApiError, inWords, wasLeft } from "../../api.js";
import { button, el, put } from "../../dom.js";
import { dress, follower, say } from "../record/keep.js";
import { receiptOf } from "./receipt.js";
import { actionsOf, isBusy, sayColumn, sayLengthOf, sayProgress, sayState, sayWho, showShare, titleOf, when } from "./words.js";

/** @typedef {import("./words.js").JobEvent} JobEvent */
/** @typedef {{version: number, base: Record<string, string>, typed: Record<string, string>}} Draft `base` is what stood there when somebody began */

/** What is changed here; ranges are changed in the view Cut. */
const FIELDS = [
  { column: "video_title", text: "Title", isLong: false },
  { column: "video_description", text: "Description", isLong: true },
  { column: "video_tags", text: "Tags, with commas between", isLong: false },
  { column: "notes", text: "Notes for the crew", isLong: true },
];
const DRAFT = "segvault.jobs.draft.";
const PROGRESS_EVERY_MS = 2000;

/**
 * @param {string} id
 * @param {import("../../app.js").Context} context
 * @param {import("../../dom.js").Hold} hold of the panel alone
 * @param {(event: JobEvent) => void} seen is told each newer state
 */
export function eventPanel(id, context, hold, seen) {
  const { api, announce } = context;
  const title = el("h2", { id: "event-title", tabindex: -1 });
  const state = el("span");
  const facts = el("dl", { class: "event-facts" });
  const fault = el("div", { class: "notice bad", role: "alert", hidden: true });
  const progress = el("progress", { max: 1, "aria-label": "Progress" });
  const told = el("p", { class: "small", role: "status" });
  const actions = el("div", { class: "row actions" });
  const conflict = el("div", { class: "notice conflict", role: "alert", hidden: true });
  const form = el("form", { class: "edit" });
  const history = el("ol", { class: "history small" });
  const past = el("details", {}, el("summary", {}, "What happened to it"), history);
  const receipt = receiptOf(id, api, hold);
  const element = el("section", { class: "panel event", "aria-labelledby": "event-title" },
    el("div", { class: "row" }, state, title), fault, progress, told, facts, receipt.element, actions, conflict, form, past);
  const followFacts = follower(facts, (/** @type {[string, string, string?]} */ [name]) => name, fact);
  progress.hidden = true;

  /** @type {JobEvent | null} */
  let event = null;
  const inputs = new Map(FIELDS.map(({ column, isLong }) => {
    const input = isLong ? el("textarea", { name: column, rows: 4 }) : el("input", { name: column, autocomplete: "off" });
    return [column, { input, theirs: el("div", { class: "theirs small", hidden: true }) }];
  }));
  const save = el("button", { type: "submit", class: "primary" }, "Save");
  const drop = button("Drop my changes", () => { forget(); show(); }, { class: "quiet" });
  const saved = el("p", { class: "small", role: "status" });
  put(form, ...FIELDS.map(({ column, text }) => {
    const { input, theirs } = /** @type {{input: HTMLElement, theirs: HTMLElement}} */ (inputs.get(column));
    return el("div", {}, el("label", {}, text, input), theirs);
  }), el("div", { class: "row" }, save, drop), saved);

  function fact() {
    const [name, body] = [el("dt"), el("dd")];
    return {
      element: el("div", {}, name, body),
      update: (/** @type {[string, string, string?]} */ [term, text, href]) => {
        say(name, term);
        if (!href) return say(body, text);
        const link = body.querySelector("a");
        if (link?.href === href) return say(link, text);
        body.replaceChildren(el("a", { href, rel: "noopener noreferrer", target: "_blank" }, text));
      },
    };
  }

  // What is typed.

  /** @returns {Draft | null} */
  function draft() {
    try {
      return JSON.parse(localStorage.getItem(DRAFT + id) ?? "null");
    } catch {
      return null;
    }
  }

  function forget() {
    localStorage.removeItem(DRAFT + id);
    for (const { theirs } of inputs.values()) theirs.hidden = true;
    conflict.hidden = true;
  }

  /** @param {string} column */
  function standing(column) {
    const value = event?.[column];
    return Array.isArray(value) ? value.join(", ") : String(value ?? "");
  }

  hold.on(form, "input", () => {
    if (!event) return;
    const before = draft();
    const typed = Object.fromEntries(FIELDS.map(({ column }) => [column, valueOf(column)]));
    const base = before?.base ?? Object.fromEntries(FIELDS.map(({ column }) => [column, standing(column)]));
    const isSame = FIELDS.every(({ column }) => typed[column] === base[column]);
    if (isSame) forget();
    else localStorage.setItem(DRAFT + id, JSON.stringify({ version: before?.version ?? event.version, base, typed }));
    say(saved, "");
    showDraft();
  });

  /** @param {string} column */
  function valueOf(column) {
    return inputs.get(column)?.input.value ?? "";
  }

  function showDraft() {
    const mine = draft();
    save.disabled = !mine;
    drop.hidden = !mine;
    if (!mine || !event) return;
    // Where others changed a field that is changed here too, people choose.
    const disputed = FIELDS.filter(({ column }) => standing(column) !== mine.base[column] && standing(column) !== mine.typed[column]);
    for (const { column } of FIELDS) {
      const { input, theirs } = /** @type {{input: HTMLInputElement | HTMLTextAreaElement, theirs: HTMLElement}} */ (inputs.get(column));
      const isDisputed = disputed.some((one) => one.column === column);
      theirs.hidden = !isDisputed;
      if (!isDisputed) continue;
      const text = standing(column);
      theirs.replaceChildren(el("span", {}, `It says by now: ${text || "nothing"} `),
        button("Take that", () => { input.value = text; form.dispatchEvent(new Event("input")); input.focus(); }, { class: "quiet" }));
    }
    if (disputed.length > 0 && conflict.hidden) {
      say(conflict, `Somebody else has changed ${disputed.map(({ column }) => sayColumn(column)).join(" and ")} meanwhile. What you typed is still here: take theirs, or save yours over it.`);
      conflict.hidden = false;
    }
  }

  // What stands there.

  function show() {
    if (!event) return;
    const may = actionsOf(event);
    const { text, tone } = sayState(event);
    say(title, titleOf(event));
    say(state, text);
    dress(state, `pill ${tone}`);
    say(fault, event.error ? sayError(event) : "");
    fault.hidden = !event.error;
    const link = /^https?:/.test(event.video_link ?? "") ? String(event.video_link) : "";
    followFacts(/** @type {[string, string, string?][]} */ ([
      ["Published at", link, link], ["Channel", event.video_channel ? `${event.video_channel} ${event.video_quality ?? ""}` : ""],
      ["Begins", when(event.event_start)], ["Length", sayLengthOf(event)], ["Who", sayWho(event)],
      ["To", event.upload_location ?? ""], ["Edited", when(event.edit_time)], ["Published", when(event.upload_time)], ["Id", event.id],
    ].filter(([, said]) => said)));
    void receipt.look(event);
    showProgress();
    actions.replaceChildren();
    put(actions,
      may.edit && !may.published ? el("a", { class: "button", href: context.address("cut", whereToCut(event)) }, "Open in Cut") : null,
      may.retry ? button("Try again now", () => void act("It will be cut as soon as a node is free", () => api.step(id, "retry")), { class: "primary" }) : null,
      may.cancel ? button("Cancel", () => void act("Cancelled", () => api.step(id, "cancel"))) : null,
      may.reset ? button("Reset…", confirmReset) : null);
    const mine = draft();
    for (const { column } of FIELDS) {
      const { input } = /** @type {{input: HTMLInputElement | HTMLTextAreaElement}} */ (inputs.get(column));
      const value = mine ? mine.typed[column] ?? standing(column) : standing(column);
      if (input.value !== value) input.value = value;
      input.disabled = !may.edit;
    }
    say(save, may.published ? "Save and send to the destination" : "Save");
    save.hidden = !may.edit;
    showDraft();
  }

  function showProgress() {
    const of = event && isBusy(event) ? event.progress : null;
    progress.hidden = !of;
    if (!of) return say(told, "");
    showShare(progress, of);
    say(told, sayProgress(of));
  }

  /** @param {JobEvent} of */
  function sayError(of) {
    const again = of.state === "EDITED" && of.retry_at ? ` It is tried again at ${when(of.retry_at)} UTC.` : "";
    const person = of.state === "UNEDITED" ? " Nobody tries again by themselves." : "";
    const ends = /[.!?]$/.test(String(of.error)) ? "" : ".";
    return `${of.error}${ends}${again}${person}`;
  }

  /** The view Cut of its channel, where it begins. @param {JobEvent} of @returns {Record<string, string>} */
  function whereToCut(of) {
    const at = of.video_ranges?.[0]?.[0] ?? of.event_start ?? "";
    return of.video_channel ? { channel: of.video_channel, quality: of.video_quality ?? "", event: id, at } : { event: id, at };
  }

  // What is done.

  /** @param {string} done @param {() => Promise<JobEvent>} step */
  async function act(done, step) {
    try {
      take(await step());
      announce(done);
      void lookBack();
    } catch (error) {
      if (wasLeft(error)) return;
      announce(await explain(error), { urgent: true });
    }
  }

  /** @param {unknown} error */
  async function explain(error) {
    if (!(error instanceof ApiError) || error.status !== 409) return inWords(error);
    await look();
    return `Nothing was done: it is "${event ? sayState(event).text : "elsewhere"}" by now. ${error.detail}`;
  }

  function confirmReset() {
    const dialog = el("dialog", { "aria-labelledby": "reset-title" },
      el("h2", { id: "reset-title" }, "Forget what became of it?"),
      el("p", {}, "It is to be edited again then. What lies at the destination already stays there, and is for a person to look after."),
      el("div", { class: "row" },
        button("Reset it", () => { dialog.close(); void act("It is to be edited again", () => api.step(id, "reset")); }, { class: "primary" }),
        button("Leave it", () => dialog.close())));
    hold.on(dialog, "close", () => dialog.remove());
    hold.add(() => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  hold.on(form, "submit", (submitted) => { submitted.preventDefault(); void saveIt(); });
  async function saveIt() {
    const mine = draft();
    if (!event || !mine) return;
    const changed = FIELDS.filter(({ column }) => mine.typed[column] !== mine.base[column]).map(({ column }) => column);
    const tags = (/** @type {string} */ text) => text.split(",").map((tag) => tag.trim()).filter((tag) => tag);
    const fields = Object.fromEntries(changed.map((column) => [column, column === "video_tags" ? tags(mine.typed[column]) : mine.typed[column]]));
    // Of what people have seen: where it is shown beside theirs, that is the latest.
    const version = conflict.hidden ? mine.version : event.version;
    save.disabled = true;
    try {
      const now = await api.changeEvent(id, { ...fields, version });
      forget();
      take(now);
      say(saved, "Saved.");
      announce("Saved");
      void lookBack();
    } catch (error) {
      save.disabled = false;
      if (wasLeft(error)) return;
      if (error instanceof ApiError && error.code === "changed") {
        say(conflict, `It was changed meanwhile: ${error.detail}. What you typed is still here; nothing was saved. Save again to save yours over it.`);
        conflict.hidden = false;
        await look();
        return;
      }
      say(saved, `Not saved: ${inWords(error)}`);
    }
  }

  // What comes.

  /** @param {JobEvent} now */
  function take(now) {
    if (event && now.version < event.version) return;
    event = { progress: event?.progress ?? null, ...now };
    show();
    seen(event);
  }

  let endWaiting = () => {};
  async function look() {
    try {
      take(await api.event(id, hold.signal));
    } catch (error) {
      if (wasLeft(error)) return;
      const isGone = error instanceof ApiError && error.status === 404;
      say(fault, isGone ? `There is no event ${id}.` : inWords(error));
      fault.hidden = false;
      // What was to be seen may be the last that happens to it.
      endWaiting();
      if (!isGone) endWaiting = hold.after(5000, () => void look());
    }
  }

  async function lookBack() {
    if (!past.open) return;
    try {
      const lines = await api.history(id, hold.signal);
      history.replaceChildren(...lines.reverse().map((line) => {
        const columns = Object.keys(line.changes ?? {}).map(sayColumn).join(", ");
        return el("li", {}, el("span", { class: "mono" }, when(line.at)), ` ${line.what} by ${line.by}`, columns ? el("span", { class: "faint" }, ` (${columns})`) : null);
      }));
    } catch (error) {
      if (!wasLeft(error)) history.replaceChildren(el("li", {}, inWords(error)));
    }
  }
  hold.on(past, "toggle", () => void lookBack());
  hold.every(PROGRESS_EVERY_MS, () => { if (event && isBusy(event) && !document.hidden) void look(); });
  void look();
  return { element, title, changed: () => { void look(); void lookBack(); } };
}

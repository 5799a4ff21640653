/** What is hidden of a channel, and where; hiding a range, with a look at what that is before it is done. */

import { ApiError, inWords, wasLeft } from "../../api.js";
import { button, el, put } from "../../dom.js";
import { DAY, formatTime, now, parseTime, showTime } from "../../time.js";
import { dress, follower, say } from "./keep.js";

/** @typedef {{tombstone: string, quality: string, start: string | null, end: string | null, bytes: boolean, by: string | null, at: string | null, reason: string | null, nodes: Record<string, {tombstone: boolean, bytes: boolean | null} | null> | null}} Tombstone */
/** @typedef {{key: string, quality: string, by: string | null, at: string | null, reason: string | null, start: string, end: string, all: Tombstone[]}} Group */

/** The node lists whole hours for it, and asks the others: seldom enough for a tab that is left open. */
const LOOK_EVERY_MS = 60_000;
/** Unless somebody wants all. */
const USUAL_AGE = 7 * DAY;
const MOST_LISTED = 1000;
const MOST_NAMES = 200;

/**
 * @param {HTMLElement} root
 * @param {import("../../app.js").Context} context
 * @param {import("../../dom.js").Hold} hold
 * @param {(url: string | null) => string} nameOf
 */
export function tombstonesOf(root, context, hold, nameOf) {
  const { api } = context;
  const summary = el("p", { class: "small" });
  const rows = el("tbody");
  const table = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What is hidden" },
    el("table", { class: "tombstones" },
      el("thead", {}, el("tr", {}, ...["From, UTC", "Until", "Quality", "Files", "By", "Why", "Where"].map((text) => el("th", { scope: "col" }, text)))), rows));
  const more = button("Also what is older", () => { isAll = true; void look(); }, { class: "quiet" });
  const form = hideForm();
  put(root, el("div", { class: "row" }, summary, more), table, form.element);
  const follow = follower(rows, (/** @type {Group} */ group) => group.key, row);

  let channel = "";
  let isAsking = false;
  let isAll = false;

  function row() {
    const cells = Array.from({ length: 7 }, (_, at) => el("td", { class: at < 2 ? "mono" : "" }));
    return {
      element: el("tr", {}, ...cells),
      update: (/** @type {Group} */ group) => {
        const texts = [
          when(group.start), when(group.end), group.quality, String(group.all.length),
          group.by ? `${group.by}${group.at ? `, ${when(group.at)}` : ""}` : "by hand", group.reason ?? "",
        ];
        texts.forEach((text, at) => say(cells[at], text));
        const [text, tone] = where(group.all);
        say(cells[6], text);
        dress(cells[6], tone);
      },
    };
  }

  /** @param {Tombstone[]} all @returns {[string, string]} */
  function where(all) {
    const bytes = all.filter((one) => one.bytes).length;
    const parts = [bytes === 0 ? "no bytes left here" : `bytes of ${bytes === all.length ? "all" : bytes} still here`];
    let tone = "faint";
    for (const url of Object.keys(all[0]?.nodes ?? {})) {
      const states = all.map((one) => one.nodes?.[url] ?? null);
      const lacking = states.filter((state) => state && !state.tombstone).length;
      if (states.some((state) => state === null)) {
        parts.push(`${nameOf(url)} does not say`);
        tone = "warn";
      } else if (lacking > 0) {
        parts.push(`${nameOf(url)} lacks ${lacking === all.length ? "all" : lacking} of the tombstones`);
        tone = "bad";
      } else {
        const held = states.some((state) => state?.bytes) ? "bytes still there" : states.some((state) => state?.bytes === null) ? "it does not say whether bytes are there" : "no bytes there";
        parts.push(`hidden on ${nameOf(url)}, ${held}`);
      }
    }
    return [parts.join("; "), tone];
  }

  async function look() {
    if (!channel || isAsking || document.hidden || hold.ended) return;
    isAsking = true;
    const mine = channel;
    try {
      const query = { nodes: true, limit: MOST_LISTED, from: isAll ? undefined : formatTime(now() - USUAL_AGE) };
      const told = await api.json(`/api/v1/tombstones/${encodeURIComponent(mine)}`, { query, signal: hold.signal, tries: 1 });
      if (mine !== channel) return;
      const groups = grouped(told.tombstones);
      follow(groups);
      table.hidden = groups.length === 0;
      const since = isAll ? "" : " of the last week";
      more.hidden = isAll;
      say(summary, groups.length === 0 ? `Nothing${since} is hidden.` : told.more ? `The latest ${MOST_LISTED} files that are hidden.` : isAll ? "All that is hidden." : "What is hidden of the last week.");
    } catch (error) {
      if (mine === channel && !wasLeft(error)) say(summary, inWords(error));
    } finally {
      isAsking = false;
    }
  }

  function hideForm() {
    const from = el("input", { name: "from", required: true, class: "mono", placeholder: "2026-01-02T03:04:05", autocomplete: "off" });
    const to = el("input", { name: "to", required: true, class: "mono", placeholder: "2026-01-02T03:05:00", autocomplete: "off" });
    const quality = el("select", { name: "quality" });
    const reason = el("input", { name: "reason", autocomplete: "off", maxlength: 400 });
    const fault = el("p", { class: "bad", role: "alert" });
    const preview = el("div", { class: "preview", hidden: true });
    const element = el("details", { class: "hide" }, el("summary", {}, "Hide a range"),
      el("form", {},
        el("p", { class: "small" }, "Everything that holds a moment of the range is hidden on all nodes, in all versions, chat too. What is hidden cannot be shown again from here; its bytes stay on disk until they are purged."),
        el("div", { class: "fields" },
          el("label", {}, "From, UTC", from), el("label", {}, "Until", to), el("label", {}, "Quality", quality), el("label", { class: "wide" }, "Why", reason)),
        el("div", { class: "row" }, el("button", { type: "submit" }, "Look what that hides")), fault, preview));
    const fields = () => ({
      from: formatTime(parseTime(from.value) ?? 0), to: formatTime(parseTime(to.value) ?? 0),
      quality: quality.value || null, reason: reason.value.trim() || null,
    });

    const forget = () => { preview.hidden = true; preview.replaceChildren(); };
    for (const field of [from, to, quality]) hold.on(field, "input", forget);
    hold.on(/** @type {HTMLElement} */ (element.querySelector("form")), "submit", (event) => { event.preventDefault(); void lookFirst(); });

    async function lookFirst() {
      say(fault, "");
      forget();
      for (const [field, name] of /** @type {[HTMLInputElement, string][]} */ ([[from, "From"], [to, "Until"]])) {
        if (parseTime(field.value) !== null) continue;
        say(fault, `${name} is no time; write it as 2026-01-02T03:04:05`);
        field.focus();
        return;
      }
      try {
        show(await post({ ...fields(), dry_run: true }));
      } catch (error) {
        if (wasLeft(error)) return;
        say(fault, error instanceof ApiError && error.status === 404 ? "Nothing is recorded in that range." : inWords(error));
      }
    }

    /** @param {Record<string, unknown>} json */
    function post(json) {
      return api.json(`/api/v1/tombstones/${encodeURIComponent(channel)}`, { method: "POST", json, signs: true, deadline: 60_000 });
    }

    /** @param {any} told */
    function show(told) {
      const typed = el("input", { autocomplete: "off", spellcheck: "false", class: "mono" });
      const act = button("Hide it for good", () => void hide(told.mark), { class: "primary", disabled: true });
      hold.on(typed, "input", () => { act.disabled = typed.value !== channel; });
      const hidden = told.hidden_files > 0 ? ` ${told.hidden_files} of them are hidden already.` : "";
      const unfinished = told.unfinished
        ? el("p", { class: "warn" }, "What is still being recorded is not among them: do the same again when it is over.") : null;
      const qualities = told.qualities.map((/** @type {any} */ one) => el("li", {},
        `${one.quality}: ${one.files} ${one.files === 1 ? "file" : "files"}${one.start ? `, ${when(one.start, 3)} – ${when(one.end, 3)}` : ""}`));
      const names = told.names.slice(0, MOST_NAMES).map((/** @type {string} */ name) => el("li", {}, name));
      const left = told.files - names.length;
      preview.replaceChildren(
        el("h3", {}, `This hides ${told.files} ${told.files === 1 ? "file" : "files"}`),
        el("p", {}, `Segments are hidden whole, so both ends may reach beyond the range.${hidden}`),
        el("ul", {}, ...qualities));
      put(preview, unfinished,
        el("details", {}, el("summary", {}, "Which files"), el("ul", { class: "mono small names" }, ...names, left > 0 ? el("li", {}, `and ${left} more`) : null)),
        el("label", { class: "confirm" }, `Type ${channel} to confirm`, typed), act);
      preview.hidden = false;
      typed.focus();
    }

    /** @param {string} mark */
    async function hide(mark) {
      try {
        const told = await post({ ...fields(), mark });
        forget();
        element.open = false;
        const files = told.files - told.hidden_files;
        context.announce(files === 1 ? "1 file is hidden now" : `${files} files are hidden now`, { urgent: true });
        void tombstones.look();
      } catch (error) {
        if (wasLeft(error)) return;
        if (error instanceof ApiError && error.code === "changed") {
          await lookFirst();
          say(fault, "Meanwhile something else lies in that range. Look again at what would be hidden.");
        } else {
          say(fault, inWords(error));
        }
      }
    }

    return {
      element,
      /** @param {string[]} all */
      offer(all) {
        const kept = quality.value;
        quality.replaceChildren(el("option", { value: "" }, "all"), ...all.map((one) => el("option", { value: one }, one)));
        quality.value = all.includes(kept) ? kept : "";
      },
      forget,
    };
  }

  hold.every(LOOK_EVERY_MS, () => void look());
  const tombstones = {
    look,
    /** @param {string} to @param {string[]} qualities */
    turnTo(to, qualities) {
      form.offer(qualities);
      if (to === channel) return;
      channel = to;
      isAll = false;
      form.forget();
      follow([]);
      table.hidden = true;
      say(summary, "");
      void look();
    },
  };
  return tombstones;
}

/** What was hidden together stands together. @param {Tombstone[]} tombstones @returns {Group[]} */
function grouped(tombstones) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const one of tombstones) {
    const { quality, by, at, reason } = one;
    const hour = one.tombstone.split("/")[1] ?? "";
    const key = JSON.stringify([quality, by, at, reason, at === null ? hour : ""]);
    const group = groups.get(key) ?? { key, quality, by, at, reason, start: one.start ?? hour, end: one.end ?? hour, all: [] };
    if (one.start && one.start < group.start) group.start = one.start;
    if (one.end && one.end > group.end) group.end = one.end;
    group.all.push(one);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** @param {string} text @param {number} digits */
function when(text, digits = 0) {
  const at = parseTime(text);
  return at === null ? text : showTime(at, digits);
}

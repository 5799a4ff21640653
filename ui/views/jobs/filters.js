/** Which events are listed: chosen in a form, kept in the address. */

import { inWords, wasLeft } from "../../api.js";
import { button, el, put } from "../../dom.js";
import { DAY, formatTime, parseTime } from "../../time.js";
import { STATES } from "./words.js";

/** @typedef {{states: string[], channel: string, text: string, day: string, editor: string, order: "newest" | "oldest", after: string}} Filters */
/** @typedef {import("../../app.js").Params} Params */

/** A pause in typing that is the end of it. */
const TYPED_AFTER_MS = 350;

/** @param {Params} params @returns {Filters} */
export function readFilters(params) {
  const known = STATES.map(({ state }) => state);
  return {
    states: (params.state ?? "").split(",").filter((state) => known.includes(state)),
    // With a quality it is the place that another view was at, and no filter.
    channel: params.quality ? "" : params.channel ?? "",
    text: params.text ?? "",
    day: parseTime(params.day ?? "") === null ? "" : params.day,
    editor: params.editor ?? "",
    order: params.order === "oldest" ? "oldest" : "newest",
    after: params.after ?? "",
  };
}

/** The same as an address has it. @param {Filters} filters @returns {Params} */
export function toParams({ states, channel, text, day, editor, order, after }) {
  return { channel, state: states.join(","), text, day, editor, order: order === "oldest" ? order : "", after };
}

/** As the node is asked. @param {Filters} filters @param {number} limit @returns {[string, string][]} */
export function toQuery({ states, channel, text, day, editor, order, after }, limit) {
  const from = day ? parseTime(day) : null;
  /** @type {[string, string][]} */
  const pairs = [["limit", String(limit)], ["order", order], ...states.map((state) => /** @type {[string, string]} */ (["state", state]))];
  if (from !== null) pairs.push(["from", formatTime(from)], ["to", formatTime(from + DAY)]);
  for (const [name, value] of [["channel", channel], ["text", text], ["editor", editor], ["after", after]]) {
    if (value) pairs.push([name, value]);
  }
  return pairs;
}

/**
 * @param {Filters} filters what is chosen at the beginning
 * @param {import("../../app.js").Context} context
 * @param {import("../../dom.js").Hold} hold
 * @param {(filters: Filters) => void} changed
 */
export function filterForm(filters, { api, announce }, hold, changed) {
  let now = filters;
  const text = el("input", { type: "search", name: "text", value: filters.text, placeholder: "Title, description, tag, id" });
  const channel = el("select", { name: "channel" }, el("option", { value: "" }, "all"));
  const day = el("input", { type: "date", name: "day", value: filters.day });
  const mine = el("input", { type: "checkbox", name: "mine" });
  const order = el("select", { name: "order" }, el("option", { value: "newest" }, "newest first"), el("option", { value: "oldest" }, "oldest first"));
  const states = STATES.map(({ state, text: said }) => ({ state, chip: button(said, () => toggle(state), { class: "chip" }) }));
  const clear = button("Clear", () => turn({ states: [], channel: "", text: "", day: "", editor: "" }), { class: "quiet" });
  const form = el("form", { class: "filters", role: "search", "aria-label": "Which events" },
    el("div", { class: "row" },
      el("label", { class: "wide" }, "Find", text), el("label", {}, "Channel", channel), el("label", {}, "Day, UTC", day),
      el("label", {}, "Order", order), el("label", {}, mine, "mine"), clear),
    el("div", { class: "row", role: "group", "aria-label": "States" }, ...states.map(({ chip }) => chip)));

  /** @param {Partial<Filters>} change */
  function turn(change) {
    now = { ...now, after: "", ...change };
    show();
    changed(now);
  }

  /** @param {string} state */
  function toggle(state) {
    turn({ states: now.states.includes(state) ? now.states.filter((one) => one !== state) : [...now.states, state] });
  }

  function show() {
    for (const { state, chip } of states) chip.setAttribute("aria-pressed", String(now.states.includes(state)));
    // What is being typed stays as it is.
    if (document.activeElement !== text) text.value = now.text;
    day.value = now.day;
    order.value = now.order;
    mine.checked = now.editor !== "";
    if (now.channel && ![...channel.options].some((option) => option.value === now.channel)) {
      channel.append(el("option", { value: now.channel }, now.channel));
    }
    channel.value = now.channel;
    clear.hidden = !(now.states.length || now.channel || now.text || now.day || now.editor);
  }

  let endWait = () => {};
  hold.on(text, "input", () => {
    endWait();
    endWait = hold.after(TYPED_AFTER_MS, () => turn({ text: text.value.trim() }));
  });
  hold.on(channel, "change", () => turn({ channel: channel.value }));
  hold.on(order, "change", () => turn({ order: order.value === "oldest" ? "oldest" : "newest" }));
  hold.on(day, "change", () => turn({ day: day.value }));
  hold.on(form, "submit", (event) => { event.preventDefault(); endWait(); turn({ text: text.value.trim() }); });
  hold.on(mine, "change", async () => {
    if (!mine.checked) return turn({ editor: "" });
    try {
      const who = await api.json("/thrimshim/auth-test", { method: "POST", json: {}, signs: true, signal: hold.signal });
      turn({ editor: String(who) });
    } catch (error) {
      mine.checked = false;
      if (!wasLeft(error)) announce(inWords(error), { urgent: true });
    }
  });

  async function lookForChannels() {
    try {
      const all = await api.channels(hold.signal);
      const known = [...channel.options].map((option) => option.value);
      put(channel, ...all.filter((one) => !known.includes(one)).map((one) => el("option", { value: one }, one)));
      show();
    } catch {
      // The list of events says what is wrong.
    }
  }

  show();
  void lookForChannels();
  return form;
}

/** Keys, as editors expect them, and the sheet that lists them. */

import { button, el, isTyping } from "../dom.js";

/** @typedef {{keys: string[], does: string, act: (event: KeyboardEvent) => void, repeats?: boolean}} Key `keys` such as `k`, `Shift+ArrowLeft`, `Ctrl+z` */

const NAMES = /** @type {Record<string, string>} */ ({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" });

/** @param {KeyboardEvent} event */
function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isSign = event.key.length === 1 && !/[a-z0-9 ]/i.test(event.key);
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Ctrl");
  if (event.altKey) parts.push("Alt");
  // Which keys signs are on is the keyboard's own affair.
  if (event.shiftKey && !isSign) parts.push("Shift");
  return [...parts, key].join("+");
}

/**
 * @param {import("../dom.js").Hold} hold
 * @param {Key[]} keys
 */
export function bindKeys(hold, keys) {
  hold.on(document, "keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    const target = event.target;
    if (isTyping(target)) return;
    // Space and Enter press the button that has the focus.
    if ((name === " " || name === "Enter") && target instanceof HTMLElement && target.closest("button, a, summary, input")) return;
    const key = keys.find((one) => one.keys.includes(name));
    if (!key || (event.repeat && !key.repeats)) return;
    event.preventDefault();
    key.act(event);
  });
}

/** @param {string} key */
function keyName(key) {
  return NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}

/** @param {Key[]} keys */
export function showKeys(keys) {
  const rows = keys.map(({ keys: names, does }) => {
    const cell = el("td", {});
    for (const name of names) cell.append(el("kbd", {}, name.split(/(?<=.)\+/).map(keyName).join(" ")), " ");
    return el("tr", {}, cell, el("td", {}, does));
  });
  const dialog = el("dialog", { "aria-labelledby": "keys-title" },
    el("h2", { id: "keys-title" }, "Keys"),
    el("table", {}, el("tbody", {}, ...rows)),
    el("div", { class: "row" }, button("Close", () => dialog.close(), { class: "primary" })));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

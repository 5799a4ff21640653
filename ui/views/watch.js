/** Watch: live and any past moment. What is marked there can be handed over to be cut. */

import { Deck } from "../deck/deck.js";
import { el } from "../dom.js";
import { formatTime, showClock, showLength } from "../time.js";

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").Context} context
 * @returns {import("../app.js").Mounted}
 */
export function mount(root, context) {
  const deck = new Deck(root, context, "watch");
  deck.onMarks = () => {
    const { in: start, out: end } = deck.marks;
    const { channel, quality } = deck;
    if (start === null || end === null) {
      const at = start ?? end;
      deck.extra.replaceChildren(at === null ? "" : `${start === null ? "Out" : "In"} ${showClock(at, 3)}`);
      return;
    }
    const to = context.address("cut", { channel, quality, range: `${formatTime(start)},${formatTime(end)}` });
    deck.extra.replaceChildren(el("a", { class: "button", href: to }, `Cut these ${showLength(end - start, 2)}`));
  };
  void deck.start();
  return { unmount: () => deck.end() };
}

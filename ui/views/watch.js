/** Watch: live and any past moment. */

import { Deck } from "../deck/deck.js";

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").Context} context
 * @returns {import("../app.js").Mounted}
 */
export function mount(root, context) {
  const deck = new Deck(root, context, "watch");
  void deck.start();
  return { unmount: () => deck.end() };
}

/**
 * Keeps what is shown as what is known is, touching only what has changed: so that nothing loses the focus, and nobody who
 * listens hears all of it again.
 */

/**
 * @template T
 * @typedef {{element: HTMLElement, update: (thing: T) => void}} Shown
 */

/**
 * A list that follows a list of things.
 * @template T
 * @param {HTMLElement} parent all of its children are the list's
 * @param {(thing: T) => string} keyOf
 * @param {(thing: T) => Shown<T>} make
 * @returns {(things: T[]) => void}
 */
export function follower(parent, keyOf, make) {
  /** @type {Map<string, Shown<T>>} */
  const shown = new Map();
  return (things) => {
    const keys = new Set(things.map(keyOf));
    for (const [key, { element }] of shown) {
      if (keys.has(key)) continue;
      element.remove();
      shown.delete(key);
    }
    things.forEach((thing, place) => {
      const key = keyOf(thing);
      const one = shown.get(key) ?? make(thing);
      shown.set(key, one);
      one.update(thing);
      if (parent.children[place] !== one.element) parent.insertBefore(one.element, parent.children[place] ?? null);
    });
  };
}

/** @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {string} names */
export function dress(element, names) {
  if (element.className !== names) element.className = names;
}

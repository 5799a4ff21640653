/**
 * Elements, listeners and timers, made so that a view can end all of its own at once.
 */

/**
 * Makes an element. Text is text, never markup.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes] null, undefined and false leave one out
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  put(element, ...children);
  return element;
}

/**
 * Adds children.
 * @param {Element} parent
 * @param {...(Node | string | null | undefined | false)} children
 */
export function put(parent, ...children) {
  for (const child of children) if (child || child === "") parent.append(child);
}

/**
 * A button.
 * @param {string} text
 * @param {(event: MouseEvent) => void} act
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes]
 */
export function button(text, act, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
}

/** @typedef {<T extends Event>(target: EventTarget, kind: string, act: (event: T) => void, options?: AddEventListenerOptions) => void} Listen */

/** What a view holds, until it ends. */
export class Hold {
  #ending = new AbortController();
  /** @type {Set<() => void>} */
  #ends = new Set();

  /** Ends with the view: for `fetch`. */
  get signal() {
    return this.#ending.signal;
  }

  get ended() {
    return this.#ending.signal.aborted;
  }

  /** @type {Listen} */
  on(target, kind, act, options = {}) {
    target.addEventListener(kind, /** @type {EventListener} */ (act), { ...options, signal: this.#ending.signal });
  }

  /**
   * @param {number} ms
   * @param {() => void} act
   * @returns {() => void} ends it
   */
  every(ms, act) {
    const timer = setInterval(act, ms);
    return this.add(() => clearInterval(timer));
  }

  /**
   * @param {number} ms
   * @param {() => void} act
   * @returns {() => void} ends it
   */
  after(ms, act) {
    const timer = setTimeout(() => { end(); act(); }, ms);
    const end = this.add(() => clearTimeout(timer));
    return end;
  }

  /**
   * Whatever is to be done at the end.
   * @param {() => void} end
   * @returns {() => void} does it now
   */
  add(end) {
    if (this.ended) { end(); return () => {}; }
    this.#ends.add(end);
    return () => { if (this.#ends.delete(end)) end(); };
  }

  end() {
    if (this.ended) return;
    this.#ending.abort();
    for (const end of [...this.#ends].reverse()) end();
    this.#ends.clear();
  }
}

/** Whether keys go into a text just now. @param {EventTarget | null} target */
export function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "range", "color", "file"].includes(target.type);
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** Long work in slices, so that the picture, keys and clicks get their turn in between. */

/** Half of what a picture of the screen may take. */
const SLICE_MS = 8;
/** Looking at the clock costs more than most of what is done. */
const LOOK_EVERY = 64;

/**
 * `list.map(act)`.
 * @template T, U
 * @param {readonly T[]} list
 * @param {(one: T) => U} act
 * @returns {Promise<U[]>}
 */
export async function mapInSlices(list, act) {
  /** @type {U[]} */
  const made = [];
  let began = performance.now();
  for (let at = 0; at < list.length; at += 1) {
    made.push(act(list[at]));
    if (at % LOOK_EVERY === LOOK_EVERY - 1 && performance.now() - began > SLICE_MS) {
      await turn();
      began = performance.now();
    }
  }
  return made;
}

/** Until whatever waits had its turn. @returns {Promise<void>} */
function turn() {
  const { scheduler } = /** @type {{scheduler?: {yield?: () => Promise<void>}}} */ (/** @type {unknown} */ (window));
  return scheduler?.yield?.() ?? new Promise((done) => { setTimeout(done); });
}

/**
 * Moments as whole microseconds since 1970, UTC. They are numbers: below 2^53 until the year 2255, so nothing is rounded.
 */

/** @typedef {number} Micros whole microseconds */

export const SECOND = 1_000_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const FORM = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?)?)?(?:Z|\+00:00)?$/;

/**
 * Reads `2026-01-02T03:04:05.678901`, also without its last parts.
 * @param {string} text
 * @returns {Micros | null} null where it is no moment
 */
export function parseTime(text) {
  const found = FORM.exec(text.trim());
  if (!found) return null;
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = ""] = found;
  const parts = [year, month, day, hour, minute, second].map(Number);
  const ms = Date.UTC(parts[0], parts[1] - 1, parts[2], parts[3], parts[4], parts[5]);
  const date = new Date(ms);
  const isReal = date.getUTCMonth() === parts[1] - 1 && date.getUTCDate() === parts[2] && parts[3] < 24 && parts[4] < 60 && parts[5] < 60;
  return isReal ? ms * 1000 + Number(fraction.padEnd(6, "0")) : null;
}

/**
 * As the node writes it: `2026-01-02T03:04:05.678901`.
 * @param {Micros} time
 */
export function formatTime(time) {
  const ms = Math.floor(time / 1000);
  return `${new Date(ms).toISOString().slice(0, 23)}${String(time - ms * 1000).padStart(3, "0")}`;
}

/**
 * The same for people: `2026-01-02 03:04:05.678`, with as many digits of the fraction.
 * @param {Micros} time
 * @param {number} digits
 */
export function showTime(time, digits = 3) {
  const text = formatTime(time).replace("T", " ");
  return text.slice(0, digits > 0 ? 20 + digits : 19);
}

/**
 * The time of the day alone.
 * @param {Micros} time
 * @param {number} digits
 */
export function showClock(time, digits = 0) {
  return showTime(time, digits).slice(11);
}

/**
 * A length: `1:02:03.5`, `4.25 s`.
 * @param {Micros} micros
 * @param {number} digits
 */
export function showLength(micros, digits = 1) {
  const sign = micros < 0 ? "−" : "";
  const unit = 10 ** (6 - digits);
  const whole = Math.round(Math.abs(micros) / unit) * unit;
  const hours = Math.floor(whole / HOUR);
  const minutes = Math.floor((whole % HOUR) / MINUTE);
  const seconds = ((whole % MINUTE) / SECOND).toFixed(digits);
  if (hours === 0 && minutes === 0) return `${sign}${seconds} s`;
  const padded = seconds.padStart(digits > 0 ? 3 + digits : 2, "0");
  return hours === 0 ? `${sign}${minutes}:${padded}` : `${sign}${hours}:${String(minutes).padStart(2, "0")}:${padded}`;
}

/**
 * How people say a length: `3 s`, `5 min`, `2 h`, `4 days`.
 * @param {Micros} micros
 */
export function sayLength(micros) {
  const of = Math.abs(micros);
  if (of < 10 * SECOND) return `${(of / SECOND).toFixed(1)} s`;
  if (of < 2 * MINUTE) return `${Math.round(of / SECOND)} s`;
  if (of < 2 * HOUR) return `${Math.round(of / MINUTE)} min`;
  if (of < 2 * DAY) return `${(of / HOUR).toFixed(1)} h`;
  return `${Math.round(of / DAY)} days`;
}

/** What the clock of this machine says. @returns {Micros} */
export function now() {
  return Date.now() * 1000;
}

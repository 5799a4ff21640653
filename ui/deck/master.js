/** What a master playlist says of its renditions. Pure. */

import { SECOND } from "../time.js";

/** @typedef {{quality: string, uri: string, frameMicros: number | null, width: number | null, height: number | null}} Rendition */

/** @param {string} text @param {URL} base @returns {Rendition[]} */
export function readMaster(text, base) {
  /** @type {Rendition[]} */
  const found = [];
  let line = "";
  for (const next of text.split("\n")) {
    if (line.startsWith("#EXT-X-STREAM-INF") && next && !next.startsWith("#")) {
      const url = new URL(next.trim(), base);
      const name = url.pathname.split("/").at(-1)?.replace(/\.m3u8$/, "") ?? "";
      const rate = Number(/FRAME-RATE=([\d.]+)/.exec(line)?.[1] ?? 0);
      const size = /RESOLUTION=(\d+)x(\d+)/.exec(line);
      found.push({
        quality: decodeURIComponent(name), uri: url.href, frameMicros: rate > 0 ? frameOf(rate) : null,
        width: size ? Number(size[1]) : null, height: size ? Number(size[2]) : null,
      });
    }
    line = next;
  }
  return found;
}

/** 29.970 means 30000/1001. @param {number} rate @returns {number} micros */
function frameOf(rate) {
  const whole = Math.round(rate);
  const isNtsc = Math.abs(rate - whole) > 0.001 && Math.abs(rate - (whole * 1000) / 1001) < 0.01;
  return isNtsc ? (SECOND * 1001) / (whole * 1000) : SECOND / rate;
}

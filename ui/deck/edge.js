/**
 * Staying at live: whoever follows it and has fallen behind, as after a slow line, a node that stood still or a machine's sleep,
 * comes back to where a player that begins now would be. Pure.
 */

/** @typedef {import("./hls.js").Hls} Hls */
/** @typedef {{behind: number, ahead: number, target: number}} Gap seconds: behind that place, what is loaded of what comes, the longest segment */

/** Less than this is how lists come, now a little sooner and now a little later. */
const START_SECONDS = 2;
const DONE_SECONDS = 0.3;
/** What would take longer than half a minute to catch up is passed over. */
const JUMP_SECONDS = 12;
/** Beyond this the list at hand may have nothing in common with the next. */
const ANEW_SECONDS = 300;
/** With less than this a faster picture would only stop sooner. */
const AHEAD_SECONDS = 1;
/** People still understand what is said. */
const FASTEST = 1.5;

/** What to do about a gap: how fast to play, or where to begin again. @param {Gap} gap @param {boolean} isCatchingUp @returns {number | "jump" | "anew"} */
export function pursuit({ behind, ahead, target }, isCatchingUp) {
  if (behind > ANEW_SECONDS) return "anew";
  if (behind > Math.max(JUMP_SECONDS, 3 * target)) return "jump";
  const isFar = behind > (isCatchingUp ? DONE_SECONDS : Math.max(START_SECONDS, target));
  if (!isFar || ahead < AHEAD_SECONDS) return 1;
  return Math.min(FASTEST, 1 + Math.max(0.05, Math.round((behind / 8) * 20) / 20));
}

/** Null where there is no live edge. @param {Hls} hls @param {HTMLVideoElement} video @returns {Gap | null} */
export function gapOf(hls, video) {
  const details = hls.latestLevelDetails;
  const place = hls.liveSyncPosition;
  if (!details?.live || place === null || !Number.isFinite(place)) return null;
  return { behind: place - video.currentTime, ahead: aheadOf(video), target: details.targetduration };
}

/** @param {HTMLVideoElement} video */
function aheadOf({ buffered, currentTime }) {
  for (let at = 0; at < buffered.length; at += 1) {
    if (buffered.start(at) <= currentTime + 0.1 && buffered.end(at) > currentTime) return buffered.end(at) - currentTime;
  }
  return 0;
}

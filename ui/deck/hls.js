/** The player of ui/vendor/, fetched once, and as much of its interface as is used here. */

import { el } from "../dom.js";

/**
 * @typedef {object} Fragment
 * @property {number} start s on the video's own time
 * @property {number} duration s
 * @property {number | "initSegment"} sn
 * @property {number} cc
 * @property {string | null} rawProgramDateTime
 * @property {number | null} programDateTime ms since 1970
 * @property {boolean} [gap]
 * @property {Record<string, {startPTS: number, endPTS: number} | null>} elementaryStreams
 */
/**
 * @typedef {object} Details
 * @property {Fragment[]} fragments
 * @property {boolean} live
 * @property {number} edge s
 * @property {number} targetduration s
 * @property {string} url
 */
/**
 * @typedef {object} Hls
 * @property {(url: string) => void} loadSource
 * @property {(video: HTMLVideoElement) => void} attachMedia
 * @property {(position?: number) => void} startLoad
 * @property {() => void} stopLoad
 * @property {() => void} recoverMediaError
 * @property {() => void} destroy
 * @property {(event: string, act: (event: string, data: any) => void) => void} on
 * @property {number | null} liveSyncPosition
 * @property {Details | null} latestLevelDetails
 */
/** @typedef {{new (config: Record<string, unknown>): Hls, isSupported(): boolean, Events: Record<string, string>, ErrorTypes: Record<string, string>, ErrorDetails: Record<string, string>}} HlsClass */

/** @type {Promise<HlsClass> | null} */
let loading = null;

/** @returns {Promise<HlsClass>} */
export function loadHls() {
  loading ??= new Promise((done, fail) => {
    const there = () => /** @type {any} */ (window).Hls;
    if (there()) {
      done(there());
      return;
    }
    // index.html has it already: it is on its way while everything else is.
    const script = document.getElementById("hls") ?? document.head.appendChild(el("script", { src: "/ui/vendor/hls.js/hls.min.js" }));
    script.addEventListener("load", () => done(there()));
    script.addEventListener("error", () => {
      // The node may be away for a moment: the next who asks tries again.
      script.remove();
      loading = null;
      fail(new Error("The player could not be fetched."));
    });
  });
  return loading;
}

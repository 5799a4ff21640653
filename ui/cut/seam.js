/** Looking at what is not made yet: the seam between two ranges, and the whole of it. */

import { inWords, wasLeft } from "../api.js";
import { Hold, button, el } from "../dom.js";
import { loadHls } from "../deck/hls.js";
import { formatTime } from "../time.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./draft.js").Range} Range */
/** @typedef {import("./draft.js").Joint} Joint */

/** What is shown of either side of a hard cut. */
const ASIDE = 1_500_000;

/** As /cut takes them. @param {Range[]} ranges @param {Joint[]} joints @param {[string, string][]} [more] @returns {[string, string][]} */
export function cutQuery(ranges, joints, more = []) {
  const blends = joints.some((joint) => joint !== null);
  return [
    ...ranges.map(({ start, end }) => /** @type {[string, string]} */ (["range", `${formatTime(start)},${formatTime(end)}`])),
    ...(blends ? joints.map((joint) => /** @type {[string, string]} */ (["transition", joint ? `${joint.kind},${joint.seconds}` : ""])) : []),
    ...more,
  ];
}

/**
 * A window with a video in it; it ends with the window.
 * @param {string} title
 * @param {(video: HTMLVideoElement, hold: Hold, said: (text: string) => void) => Promise<void>} begin
 */
function showVideo(title, begin) {
  const hold = new Hold();
  const video = el("video", { controls: true, playsinline: true, class: "looked" });
  const said = el("p", { role: "status" }, "It is being made …");
  const dialog = el("dialog", { "aria-label": title }, el("h2", {}, title), video, said,
    el("div", { class: "row" }, button("Again", () => { video.currentTime = 0; void video.play(); }), button("Close", () => dialog.close(), { class: "primary" })));
  const say = (/** @type {string} */ text) => { said.textContent = text; };
  const fail = (/** @type {unknown} */ error) => { if (!wasLeft(error)) say(inWords(error)); };
  hold.on(video, "playing", () => say(""));
  dialog.addEventListener("close", () => {
    hold.end();
    video.removeAttribute("src");
    video.load();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  begin(video, hold, say).catch(fail);
}

/**
 * The transition alone, or the seconds around a hard cut.
 * @param {import("../api.js").Api} api
 * @param {string} channel @param {string} quality
 * @param {Draft} draft @param {number} at between which two
 */
export function showSeam(api, channel, quality, draft, at) {
  const joint = draft.joints[at];
  const [out, into] = [draft.ranges[at], draft.ranges[at + 1]];
  const path = `${encodeURIComponent(channel)}/${encodeURIComponent(quality)}.ts`;
  const title = `From range ${at + 1} to range ${at + 2}${joint ? `: ${joint.kind}, ${joint.seconds} s` : ""}`;
  const holes = /** @type {[string, string][]} */ (draft.allowHoles ? [["allow_holes", "true"]] : []);
  showVideo(title, async (video, hold, said) => {
    if (joint === null) {
      const ends = [{ ...out, start: Math.max(out.start, out.end - ASIDE) }, { ...into, end: Math.min(into.end, into.start + ASIDE) }];
      await playCut(api, `/cut/${path}`, cutQuery(ends, [null], [["type", "mp4"], ...holes]), video, hold, said);
      return;
    }
    // It comes as one piece of MPEG-TS, which a player for HLS can show.
    const answer = await api.ask(`/cut/preview/${path}`, { query: cutQuery([out, into], [joint], holes), signal: hold.signal, deadline: 140_000, tries: 1 });
    const [Hls, piece] = await Promise.all([loadHls(), answer.blob()]);
    if (hold.ended) return;
    const address = URL.createObjectURL(piece);
    const list = ["#EXTM3U", "#EXT-X-VERSION:3", `#EXT-X-TARGETDURATION:${Math.ceil(joint.seconds)}`, `#EXTINF:${joint.seconds},`, address, "#EXT-X-ENDLIST"];
    const listed = URL.createObjectURL(new Blob([list.join("\n")], { type: "application/vnd.apple.mpegurl" }));
    const hls = new Hls({});
    hold.add(() => { hls.destroy(); URL.revokeObjectURL(address); URL.revokeObjectURL(listed); });
    hls.on(Hls.Events.ERROR, (_, { fatal, details }) => { if (fatal) said(`The browser cannot show it (${details}).`); });
    hls.loadSource(listed);
    hls.attachMedia(video);
    await video.play();
  });
}

/**
 * The whole, as it will be; it is made while it is watched.
 * @param {import("../api.js").Api} api
 * @param {string} channel @param {string} quality
 * @param {Draft} draft
 */
export function showResult(api, channel, quality, draft) {
  const path = `/cut/${encodeURIComponent(channel)}/${encodeURIComponent(quality)}.ts`;
  const holes = /** @type {[string, string][]} */ (draft.allowHoles ? [["allow_holes", "true"]] : []);
  showVideo("The result", (video, hold, said) => playCut(api, path, cutQuery(draft.ranges, draft.joints, [["type", "mp4"], ...holes]), video, hold, said));
}

/**
 * A browser does not say why a video does not come, so somebody else asks.
 * @param {import("../api.js").Api} api @param {string} path @param {[string, string][]} query
 * @param {HTMLVideoElement} video @param {Hold} hold @param {(text: string) => void} said
 */
async function playCut(api, path, query, video, hold, said) {
  hold.on(video, "error", () => {
    if (hold.ended || !video.getAttribute("src")) return;
    // The refusal, not the video: who leaves at the head takes nothing.
    const asking = new AbortController();
    api.ask(path, { query, signal: asking.signal, deadline: 140_000, tries: 1 })
      .then(() => { asking.abort(); said(video.error?.message || "The browser cannot show it."); })
      .catch((error) => said(inWords(error)));
  });
  video.src = api.url(path, query);
  await video.play().catch(() => {});
}

// Plays ?url= with hls.js as it comes, and tells what happens: once a second a beacon, every few seconds a picture.
// It decides nothing and repairs nothing: what the player does by itself is what is tested.
"use strict";

const asked = new URLSearchParams(location.search);
const video = document.getElementById("video");
const lowLatencyMode = asked.get("low_latency") === "true";
const hls = new Hls({ lowLatencyMode });

// What has happened since the last beacon; `at` is the wall clock in ms, which the test shares.
let events = [];
const note = (name, more = {}) => events.push({ at: Date.now(), name, ...more });

hls.on(Hls.Events.ERROR, (_, { type, details, fatal, error, response, frag }) =>
  note("error", { type, details, fatal, why: error?.message, status: response?.code, sn: frag?.sn }));
hls.on(Hls.Events.FRAG_CHANGED, (_, { frag }) =>
  note("frag", { sn: frag.sn, cc: frag.cc, date: frag.programDateTime, url: frag.relurl }));
hls.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => note("manifest", { levels: levels.length }));
hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => note("level", { level }));
for (const name of ["playing", "waiting", "stalled", "error", "seeking", "ended", "pause", "resize"]) {
  video.addEventListener(name, () => note(`video ${name}`, { currentTime: video.currentTime }));
}

// A stall is a picture that should move and does not; measured here, finer than the beacons are.
const STALLED_AFTER_MS = 300;
let moved = { at: performance.now(), to: 0 };
let begun = false;
const standingMs = () => (begun ? performance.now() - moved.at : 0);
setInterval(() => {
  if (video.currentTime === moved.to) return;
  if (begun && standingMs() > STALLED_AFTER_MS) note("stall", { ms: Math.round(standingMs()), from: moved.to });
  begun ||= video.currentTime > 0 && video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA;
  moved = { at: performance.now(), to: video.currentTime };
}, 50);

const levelDetails = () => {
  const details = hls.latestLevelDetails;
  if (!details) return null;
  const { live, startSN, endSN, startCC, endCC, targetduration, age, url, misses } = details;
  return { live, startSN, endSN, startCC, endCC, targetduration, age, url, misses };
};

const post = (path, body) => fetch(path, { method: "POST", body });

const beacon = () => {
  const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
  const buffered = Array.from(video.buffered, (_, at) => [video.buffered.start(at), video.buffered.end(at)]);
  const told = events;
  events = [];
  return {
    at: Date.now(), currentTime: video.currentTime, date: hls.playingDate?.getTime() ?? null, buffered,
    readyState: video.readyState, paused: video.paused, standingMs: Math.round(standingMs()),
    frames: totalVideoFrames, dropped: droppedVideoFrames, width: video.videoWidth, latency: hls.latency,
    level: levelDetails(), events: told,
  };
};
setInterval(() => post("beacon", JSON.stringify(beacon())), 1000);

// The picture that is on the screen, with the date that the player gives it: the test reads the frame's number off it.
const canvas = document.createElement("canvas");
const picture = () => video.requestVideoFrameCallback((_, { mediaTime }) => {
  if (hls.playingDate) {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const date = hls.playingDate.getTime() + Math.round((mediaTime - video.currentTime) * 1000);
    canvas.toBlob((png) => post(`picture/${date}`, png), "image/png");
  }
  setTimeout(picture, 3000);
});
picture();

hls.loadSource(asked.get("url"));
hls.attachMedia(video);
video.play().catch((error) => note("refused", { why: error.message }));

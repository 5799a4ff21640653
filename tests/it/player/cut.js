// Plays ?url= to its end, by itself or (?seconds=) as the one segment of a playlist with hls.js, and tells once how it went. The
// first picture and the last one are sent as pictures 0 and 1.
"use strict";

const asked = new URLSearchParams(location.search);
const video = document.getElementById("video");
const post = (path, body) => fetch(path, { method: "POST", body });

const complaints = [];
for (const kind of ["error", "warn"]) {
  console[kind] = (...words) => complaints.push(words.join(" "));
}
window.addEventListener("error", ({ message }) => complaints.push(message));
window.addEventListener("unhandledrejection", ({ reason }) => complaints.push(String(reason)));

const picture = (number) => new Promise((sent) => {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((png) => sent(post(`picture/${number}`, png)), "image/png");
});

const report = (how) => {
  const { currentTime, error } = video;
  const frames = video.getVideoPlaybackQuality().totalVideoFrames;
  post("report", JSON.stringify({ how, currentTime, frames, error: error?.message ?? null, complaints }));
};

video.addEventListener("loadeddata", async () => {
  await picture(0);
  await video.play();
}, { once: true });
video.addEventListener("ended", async () => {
  await picture(1);
  report("ended");
});
video.addEventListener("error", () => report("failed"));

const url = asked.get("url");
const seconds = asked.get("seconds");
if (seconds === null) {
  video.src = url;
} else {
  const target = Math.ceil(Number(seconds));
  const list = ["#EXTM3U", "#EXT-X-VERSION:3", `#EXT-X-TARGETDURATION:${target}`, `#EXTINF:${seconds},`, url, "#EXT-X-ENDLIST"];
  const hls = new Hls();
  hls.on(Hls.Events.ERROR, (_, { type, details, error }) => {
    // On a machine that is busy with other things the picture may stand still for a moment.
    if (details !== Hls.ErrorDetails.BUFFER_STALLED_ERROR) complaints.push(`${type} ${details}: ${error?.message}`);
  });
  hls.loadSource(URL.createObjectURL(new Blob([list.join("\n")], { type: "application/vnd.apple.mpegurl" })));
  hls.attachMedia(video);
}

/**
 * One quality on one `video`, by wall-clock time: any moment of the record, or live. Which frame is on the screen is known to
 * the microsecond: a segment's date is that of its first frame, and the browser says how far behind it the frame lies.
 */

import { ApiError, backoff, inWords, wasLeft } from "../api.js";
import { Hold } from "../dom.js";
import { MINUTE, SECOND, formatTime, now } from "../time.js";
import { gapOf, pursuit } from "./edge.js";
import { loadHls } from "./hls.js";
import { readMaster } from "./master.js";
import { dateOf, hasAll, placeAmong, timeAmong } from "./place.js";

/** @typedef {import("../time.js").Micros} Micros */
/** @typedef {import("./hls.js").Hls} Hls */
/** @typedef {import("./hls.js").HlsClass} HlsClass */
/** @typedef {import("./hls.js").Fragment} Fragment */
/** @typedef {import("./master.js").Rendition} Rendition */
/** @typedef {{from: Micros, to: Micros}} Jump time that the picture left out while it played */

/** What is loaded of the past at once, and how much of it lies before the moment asked for. */
const CHUNK = 60 * MINUTE;
const LEAD = MINUTE;
/** Addresses begin on these, so that who looks at the same asks for the same. */
const STEP = 10 * MINUTE;
/** Of a live playlist: what can be gone back to without asking again. */
const WINDOW_SECONDS = 900;
const KEEP_UP_EVERY_MS = 500;
const USUAL_FRAME = SECOND / 30;
/** A step of the picture's time that is longer than this is something left out, of the record or of what was shown of it. */
const LEFT_OUT = 0.4 * SECOND;
/** How often a seek is mended that met another frame than it should. */
const MOST_MENDS = 3;
/** A frame is told within this after the seek that brought it. */
const SETTLED_MS = 80;
const MOST_LOOKS = 50;
/** A frame that is further from the video's time than this was there before the seek. */
const OLDER_SECONDS = 0.5;
const REWIND_EVERY_MS = 120;

/**
 * @typedef {object} PlayerEvents
 * @property {() => void} changed anything that is shown of it
 * @property {(jump: Jump) => void} jumped what is missing in between
 * @property {(jump: Jump) => void} passed what was there in between, and was left out to be at live again
 * @property {(end: Micros) => void} ended a part of the past was played to its end
 * @property {(text: string) => void} said for people
 */

export class Player {
  #hold = new Hold();
  /** @type {Hls | null} */
  #hls = null;
  /** @type {HlsClass | null} */
  #Hls = null;
  /** What the browser told last. @type {number | null} */
  #latest = null;
  /** The frame on the screen: its place on the video's time. @type {number | null} */
  #media = null;
  /** The moment that the frame on the screen shows. @type {Micros | null} */
  #time = null;
  /** Where a seek is to end that has not. @type {{micros: Micros, mends: number} | null} */
  #aim = null;
  /** What is being shown, or is to be. @type {Micros | "live"} */
  #wanted = "live";
  /** @type {AbortController | null} */
  #opening = null;
  #failures = 0;
  /** @type {() => void} */
  #retry = () => {};
  /** @type {() => void} */
  #rewinding = () => {};
  /** Times faster than time passes; negative: backwards. */
  #speed = 1;
  #wasPlaying = true;
  /** Plays faster than it was told to, to be at live again. */
  isCatchingUp = false;
  /** What was on the screen before live began again by itself. @type {Micros | null} */
  #leftAt = null;
  /** Nobody looked, and so no frames were told. */
  #wasHidden = false;
  frameMicros = USUAL_FRAME;
  /** Nothing is recorded where we are. */
  isEmpty = false;
  /** The master playlist of live, if somebody has asked for it already. @type {Promise<string> | null} */
  #asked = null;

  /**
   * @param {HTMLVideoElement} video
   * @param {import("../api.js").Api} api
   * @param {string} channel
   * @param {string} quality
   * @param {PlayerEvents} events
   * @param {Promise<string> | null} [asked]
   */
  constructor(video, api, channel, quality, events, asked = null) {
    this.#asked = asked;
    this.video = video;
    this.api = api;
    this.channel = channel;
    this.quality = quality;
    this.events = events;
    for (const kind of ["play", "pause", "playing", "waiting", "seeking", "seeked", "ratechange", "volumechange", "ended"]) {
      this.#hold.on(video, kind, () => events.changed());
    }
    this.#hold.on(video, "ended", () => this.#goOn());
    // A seek within one frame brings none.
    this.#hold.on(video, "seeked", () => this.#settle(MOST_LOOKS));
    this.#hold.on(document, "visibilitychange", () => { this.#wasHidden = true; if (!document.hidden) this.events.changed(); });
    this.#hold.every(KEEP_UP_EVERY_MS, () => this.#keepUp());
    this.#watchFrames();
  }

  /** Whoever follows live stays there; who has paused, gone back or chosen a speed is left alone. */
  #keepUp() {
    const { video } = this;
    const isFollowing = this.isLive && !video.paused && this.#speed === 1;
    const gap = isFollowing && this.#hls && !video.seeking ? gapOf(this.#hls, video) : null;
    const how = gap ? pursuit(gap, this.isCatchingUp) : 1;
    this.#catchUp(typeof how === "number" ? how : 1);
    if (!gap || typeof how === "number") return;
    this.#leftAt = this.#time;
    if (how === "jump") {
      video.currentTime += gap.behind;
      return;
    }
    this.#close();
    void this.#load();
  }

  /** @param {number} rate */
  #catchUp(rate) {
    if (!this.isCatchingUp && rate === 1) return;
    this.isCatchingUp = rate !== 1;
    const speed = this.isCatchingUp ? rate : Math.max(1, this.#speed);
    if (this.video.playbackRate !== speed) this.video.playbackRate = speed;
    this.events.changed();
  }

  /** What is on the screen. */
  get time() {
    return this.#aim?.micros ?? this.#time;
  }

  /** The same, once the picture is there. */
  get shown() {
    return this.#aim === null && this.#media !== null ? this.#time : null;
  }

  get isLive() {
    return this.#wanted === "live";
  }

  get isPlaying() {
    return !this.video.paused || this.#speed < 0;
  }

  get speed() {
    return this.#speed;
  }

  get isWaiting() {
    return this.isPlaying && this.video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
  }

  // What people do.

  /**
   * Shows live, or a moment.
   * @param {Micros | "live"} at
   * @param {{play?: boolean}} [how]
   */
  async open(at, { play = true } = {}) {
    this.#wanted = at;
    this.#wasPlaying = play;
    this.#failures = 0;
    this.#leftAt = null;
    this.#stopRewinding();
    await this.#load();
  }

  /**
   * The frame of this moment.
   * @param {Micros} micros
   */
  seek(micros) {
    const place = this.#placeOf(micros);
    if (place === null) {
      void this.open(micros, { play: this.isPlaying });
      return;
    }
    this.#wanted = micros;
    this.#leftAt = null;
    this.#catchUp(1);
    this.#aim = { micros, mends: 0 };
    this.video.currentTime = place;
    this.events.changed();
  }

  /** So many frames on, or back. @param {number} frames */
  step(frames) {
    this.pause();
    const from = this.time;
    if (from === null) return;
    const known = this.#aim === null && this.#media !== null ? this.#media + ((frames + 0.5) * this.frameMicros) / SECOND : null;
    const to = Math.round(from + frames * this.frameMicros);
    const place = this.#placeOf(to);
    if (place === null || known === null || Math.abs(place - known) > 2) {
      this.seek(to);
      return;
    }
    this.#wanted = to;
    this.#aim = { micros: to, mends: 0 };
    this.video.currentTime = known;
    this.events.changed();
  }

  play() {
    this.#stopRewinding();
    this.#setSpeed(1);
    this.#wasPlaying = true;
    this.video.play().catch(() => { this.#mutedPlay(); });
  }

  pause() {
    this.#stopRewinding();
    this.#setSpeed(1);
    this.#wasPlaying = false;
    this.video.pause();
    if (this.isLive && this.#time !== null) this.#wanted = this.#time;
    this.events.changed();
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  /** L: on, and faster each time. */
  faster() {
    if (!this.isPlaying || this.#speed < 0) this.play();
    else this.#setSpeed(Math.min(8, this.#speed * 2));
    this.events.changed();
  }

  /** J: back, and faster each time. */
  backwards() {
    const speed = this.#speed < 0 ? Math.max(-8, this.#speed * 2) : -1;
    this.pause();
    this.#speed = speed;
    this.#rewinding = this.#hold.every(REWIND_EVERY_MS, () => {
      if (this.#time !== null && this.#aim === null) this.seek(this.#time + speed * REWIND_EVERY_MS * 1000);
    });
    this.events.changed();
  }

  #stopRewinding() {
    this.#rewinding();
    this.#rewinding = () => {};
    if (this.#speed < 0) this.#speed = 1;
  }

  /** @param {number} speed */
  #setSpeed(speed) {
    this.#speed = speed;
    this.isCatchingUp = false;
    this.video.playbackRate = speed;
  }

  end() {
    this.#opening?.abort();
    this.#hold.end();
    this.#close();
  }

  // Loading.

  #close() {
    this.#hls?.destroy();
    this.#hls = null;
    this.#media = null;
    this.#latest = null;
  }

  async #load() {
    this.#retry();
    this.#opening?.abort();
    const opening = new AbortController();
    this.#opening = opening;
    const wanted = this.#wanted;
    if (wanted !== "live") this.#aim = { micros: wanted, mends: 0 };
    this.isEmpty = false;
    this.events.changed();
    try {
      const [Hls, url] = await Promise.all([loadHls(), this.#address(wanted, opening.signal)]);
      if (opening.signal.aborted || this.#hold.ended) return;
      if (!Hls.isSupported()) {
        this.events.said("This browser cannot play it: Media Source Extensions are missing.");
        return;
      }
      this.#begin(Hls, url, wanted);
    } catch (error) {
      if (opening.signal.aborted || this.#hold.ended || wasLeft(error)) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) {
        this.events.said(error.status === 404 ? `Nothing is recorded of ${this.channel}, ${this.quality}.` : error.message);
        if (error.status !== 404) return;
      }
      this.#tryAgain(inWords(error));
    }
  }

  /**
   * Whether it goes on is the node's to say: its master playlist has the address for what does.
   * @param {Micros | "live"} wanted
   * @param {AbortSignal} signal
   */
  async #address(wanted, signal) {
    const start = wanted === "live" ? null : Math.floor((wanted - LEAD) / STEP) * STEP;
    if (start !== null && start + CHUNK < now() - MINUTE) {
      if (this.frameMicros === USUAL_FRAME) this.#learn(await this.#renditions("", signal));
      return this.api.playlistUrl(this.channel, this.quality, { start: formatTime(start), end: formatTime(start + CHUNK) });
    }
    const all = await this.#renditions(start === null ? "" : `?start=${formatTime(start)}`, signal);
    const mine = this.#learn(all);
    if (!mine) throw new ApiError(`There is no quality ${this.quality} of ${this.channel} then.`, 404, "absent");
    const url = new URL(mine.uri, location.origin);
    if (start === null) url.searchParams.set("window", String(WINDOW_SECONDS));
    return url.pathname + url.search;
  }

  /** @param {string} query @param {AbortSignal} signal */
  async #renditions(query, signal) {
    const asked = query === "" ? this.#asked : null;
    this.#asked = null;
    const text = await (asked ?? this.api.master(this.channel, query, signal));
    return readMaster(text, new URL(this.api.masterPath(this.channel), location.origin));
  }

  /** @param {Rendition[]} all */
  #learn(all) {
    const mine = all.find((one) => one.quality === this.quality);
    if (mine?.frameMicros) this.frameMicros = mine.frameMicros;
    return mine;
  }

  /** @param {HlsClass} Hls @param {string} url @param {Micros | "live"} wanted */
  #begin(Hls, url, wanted) {
    this.#close();
    this.#Hls = Hls;
    const hls = new Hls({
      autoStartLoad: false,
      // A connection that waits for the next segment would be one of the six that a browser has.
      lowLatencyMode: false,
      liveSyncDurationCount: 2,
      backBufferLength: 30,
      maxBufferLength: 20,
      maxMaxBufferLength: 60,
      // The page itself asks again, for as long as it takes.
      fragLoadPolicy: policyOf(4),
      playlistLoadPolicy: policyOf(4),
      manifestLoadPolicy: policyOf(1),
    });
    this.#hls = hls;
    hls.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
      /** @type {Fragment[]} */
      const fragments = levels[0]?.details?.fragments ?? [];
      if (fragments.length === 0) {
        this.#close();
        this.#nothingThere(wanted);
        return;
      }
      this.#failures = 0;
      if (wanted === "live") hls.startLoad(-1);
      else hls.startLoad(placeAmong(fragments, wanted, true) ?? 0);
      if (this.#wasPlaying) this.video.play().catch(() => this.#mutedPlay());
    });
    hls.on(Hls.Events.FRAG_BUFFERED, () => this.events.changed());
    hls.on(Hls.Events.ERROR, (_, data) => this.#failed(hls, data));
    hls.loadSource(url);
    hls.attachMedia(this.video);
  }

  /** @param {Micros | "live"} wanted */
  #nothingThere(wanted) {
    if (wanted === "live") {
      this.#tryAgain("Nothing is there to play yet.");
      return;
    }
    this.#aim = null;
    this.#time = wanted;
    this.isEmpty = true;
    this.events.said(`Nothing is recorded around ${formatTime(wanted)}.`);
    this.events.changed();
  }

  /** Browsers play sound only after somebody did something. */
  #mutedPlay() {
    if (this.#hold.ended || !this.video.paused || !this.#wasPlaying) return;
    this.video.muted = true;
    this.video.play().catch(() => this.events.changed());
  }

  /** @param {Hls} hls @param {any} data */
  #failed(hls, data) {
    if (!data.fatal || hls !== this.#hls || !this.#Hls) return;
    if (data.type === this.#Hls.ErrorTypes.MEDIA_ERROR && this.#failures < 2) {
      this.#failures += 1;
      hls.recoverMediaError();
      return;
    }
    // What was on the screen is what it goes on with; or it is left out, and told.
    if (this.isLive) this.#leftAt ??= this.#time;
    else if (this.#time !== null && this.#aim === null) this.#wanted = this.#time;
    this.#tryAgain("The node does not answer.");
  }

  /** @param {string} why */
  #tryAgain(why) {
    this.#failures += 1;
    if (this.#failures === 2) this.events.said(`${why} Trying again.`);
    this.#retry();
    this.#retry = this.#hold.after(backoff(this.#failures, 5000), () => void this.#load());
  }

  /** What comes behind a part of the past is for somebody to say who knows the record. */
  #goOn() {
    const time = this.#time;
    if (time === null || this.#hls === null) return;
    const last = this.#hls.latestLevelDetails?.fragments.at(-1);
    const end = last ? (dateOf(last) ?? time) + last.duration * SECOND : time;
    this.events.ended(Math.round(end));
  }

  // Time.

  /** The video's own time of a moment, if what is loaded has it. @param {Micros} micros */
  #placeOf(micros) {
    const fragments = this.#hls?.latestLevelDetails?.fragments;
    return fragments ? placeAmong(fragments, micros, false, this.frameMicros) : null;
  }

  /** Looks at what the browser told last, until it is what was sought. @param {number} looks */
  #settle(looks) {
    this.#hold.after(SETTLED_MS, () => {
      if (!this.#aim || this.video.seeking) return;
      if (this.#latest !== null) this.#frame(this.#latest);
      if (this.#aim && looks > 0) this.#settle(looks - 1);
    });
  }

  #watchFrames() {
    const look = (/** @type {number} */ _, /** @type {VideoFrameCallbackMetadata} */ { mediaTime }) => {
      if (this.#hold.ended) return;
      this.#frame(mediaTime);
      handle = this.video.requestVideoFrameCallback(look);
    };
    let handle = this.video.requestVideoFrameCallback(look);
    this.#hold.add(() => this.video.cancelVideoFrameCallback(handle));
  }

  /** A frame came to the screen. @param {number} mediaTime */
  #frame(mediaTime) {
    const fragments = this.#hls?.latestLevelDetails?.fragments;
    const time = fragments ? timeAmong(fragments, mediaTime) : null;
    this.#latest = mediaTime;
    if (time === null) return;
    const aim = this.#aim;
    if (aim) {
      const off = Math.round((aim.micros - time) / this.frameMicros);
      // An older frame may still come while it seeks, and on a busy machine shortly after.
      const isOlder = this.video.seeking || Math.abs(mediaTime - this.video.currentTime) > OLDER_SECONDS;
      if (off !== 0 && isOlder) return;
      if (off !== 0 && Math.abs(off) < 30 && aim.mends < MOST_MENDS && this.video.paused) {
        aim.mends += 1;
        this.video.currentTime = mediaTime + ((off + 0.5) * this.frameMicros) / SECOND;
        return;
      }
      this.#aim = null;
    } else {
      this.#tellLeftOut(fragments ?? [], time);
    }
    this.#wasHidden = false;
    this.#media = mediaTime;
    this.#time = time;
    if (!this.isLive) this.#wanted = time;
    this.events.changed();
  }

  /** What lies between the frame before and this one, if it is more than a step. @param {Fragment[]} fragments @param {Micros} time */
  #tellLeftOut(fragments, time) {
    const [leftAt, before] = [this.#leftAt, this.#time];
    if (leftAt !== null) {
      // An older frame may still come while it seeks.
      if (this.video.seeking) return;
      this.#leftAt = null;
      const jump = { from: Math.round(leftAt + this.frameMicros), to: time };
      if (time - leftAt > SECOND) this.events.passed(jump);
      return;
    }
    const isTold = this.#media !== null && before !== null && !this.video.paused && !this.#wasHidden;
    if (!isTold || before === null || time - before <= LEFT_OUT * Math.max(1, this.#speed)) return;
    // A busy machine leaves frames out that are there.
    const jump = { from: Math.round(before + this.frameMicros), to: time };
    if (!hasAll(fragments, jump)) this.events.jumped(jump);
  }
}

/** @param {number} tries */
function policyOf(tries) {
  const retry = { maxNumRetry: tries, retryDelayMs: 500, maxRetryDelayMs: 4000, backoff: "exponential" };
  return { default: { maxTimeToFirstByteMs: 8000, maxLoadTimeMs: 30_000, timeoutRetry: retry, errorRetry: retry } };
}

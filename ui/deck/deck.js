/**
 * What Watch and Cut share: the picture, the timeline under it, the keys, and where in the record we are. The address follows,
 * so that a reload or a copied link shows the same moment.
 */

import { inWords, pause, wasLeft } from "../api.js";
import { Hold, button, el, put } from "../dom.js";
import { MINUTE, SECOND, formatTime, now, parseTime, sayLength, showClock, showLength, showTime } from "../time.js";
import { Book, CAUSES } from "./book.js";
import { loadHls } from "./hls.js";
import { bindKeys, showKeys } from "./keys.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("../time.js").Micros} Micros */
/** @typedef {import("../api.js").Span} Span */
/** @typedef {import("./keys.js").Key} Key */
/** @typedef {import("./timeline.js").Grip} Grip */

/** How often the address is brought up to date while it plays. */
const ADDRESS_EVERY_MS = 3000;
const PAINT_EVERY_MS = 100;
const NOTE_MS = 12_000;
/** Somebody may want to do something about it. */
const PASSED_NOTE_MS = 30_000;
const MOST_LISTED = 50;

export class Deck {
  hold = new Hold();
  /** @type {Player | null} */
  player = null;
  /** @type {Book | null} */
  book = null;
  /** @type {{in: Micros | null, out: Micros | null}} */
  marks = { in: null, out: null };
  /** More of them come from the view. @type {Key[]} */
  keys = [];
  /** @type {() => void} */
  onMarks = () => {};
  /** The picture has moved, or the strip has changed. @type {() => void} */
  onChange = () => {};
  /** Channel and quality are known, and there is a player. @type {() => void} */
  onReady = () => {};
  /** @type {((grip: Grip, at: Micros, isDone: boolean) => void) | undefined} */
  onDrag;
  channel = "";
  quality = "";
  #isDirty = false;
  #addressed = "";
  /** What was gone on with last; nobody does so twice. @type {Micros | null} */
  #endedAt = null;
  /** @type {() => void} */
  #noteEnds = () => {};
  /** What the note is about. @type {(import("./player.js").Jump & {isMissing: boolean}) | null} */
  #noted = null;
  /** What the list of holes was made of. @type {{stretches: unknown, view: unknown, key: string}} */
  #listed = { stretches: null, view: null, key: "-" };

  /**
   * @param {HTMLElement} root
   * @param {import("../app.js").Context} context
   * @param {string} view whose address it is
   */
  constructor(root, context, view) {
    this.context = context;
    this.view = view;
    this.channels = el("select", { "aria-label": "Channel" });
    this.qualities = el("select", { "aria-label": "Quality" });
    this.go = el("input", { type: "text", class: "mono when", "aria-label": "Jump to a time, UTC", placeholder: "2026-01-02 03:04:05", spellcheck: "false", autocomplete: "off" });
    this.live = button("Live", () => this.goLive(), { class: "live", "aria-pressed": "false", title: "Live (End)" });
    this.state = el("span", { class: "pill delay", id: "delay" });
    this.video = el("video", { playsinline: true, tabindex: "-1", "aria-label": "The record" });
    this.noteText = el("span", { role: "status" });
    this.noteAct = button("Go back there", () => { if (this.#noted) this.seek(this.#noted.from); });
    this.note = el("div", { class: "note", hidden: true }, this.noteText);
    this.over = el("div", { class: "over", hidden: true });
    this.screen = el("div", { class: "screen", "aria-busy": "true" }, this.video, this.over, this.note);
    this.clock = el("output", { class: "mono clock", "aria-label": "Shown moment, UTC" }, "–");
    this.playing = button("▶", () => this.player?.toggle(), { "aria-label": "Play", title: "Play, pause (space)", class: "play" });
    this.canvas = el("canvas", { class: "timeline", tabindex: "0", role: "slider", "aria-label": "Timeline", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" });
    this.holes = el("details", { class: "holes" }, el("summary", {}, "What is missing here"), el("ul", {}));
    this.tools = el("div", { class: "row tools" });
    this.extra = el("div", { class: "row" });
    this.muting = button("Sound", () => { this.video.muted = !this.video.muted; }, { "aria-pressed": "false", title: "Sound on, off (M)" });
    put(this.tools,
      this.playing,
      button("−1 frame", () => this.player?.step(-1), { title: "One frame back (←)" }),
      button("+1 frame", () => this.player?.step(1), { title: "One frame on (→)" }),
      this.clock, this.live, this.state,
      button("In", () => this.mark("in"), { title: "The frame shown is the first (I)" }),
      button("Out", () => this.mark("out"), { title: "The frame shown is the last (O)" }),
      el("span", { class: "grow" }),
      this.extra,
      this.muting,
      button("−", () => this.timeline.zoom(2), { "aria-label": "See more of the timeline", title: "Zoom out (−)" }),
      button("+", () => this.timeline.zoom(0.5), { "aria-label": "See less of the timeline, larger", title: "Zoom in (+)" }),
      button("?", () => showKeys(this.keys), { "aria-label": "Keys", title: "Keys (?)" }));
    const goForm = el("form", { class: "row" }, this.go, el("button", { type: "submit" }, "Go"));
    this.side = el("div", { class: "side" });
    put(root,
      el("h1", { class: "unseen" }, view === "watch" ? "Watch" : "Mark and cut"),
      el("div", { class: "row head" }, this.channels, this.qualities, goForm,
        button("Copy link", () => void this.copyLink(), { title: "Copy a link to this moment (C)" })),
      el("div", { class: "deck" },
        el("div", { class: "picture" },
          this.screen,
          this.tools, this.canvas, this.holes),
        this.side));
    this.timeline = new Timeline(this.canvas, {
      seek: (at) => this.seek(at),
      moved: () => { this.book?.soon(); this.dirty(); },
      drag: (grip, at, isDone) => this.onDrag?.(grip, at, isDone),
    });
    this.hold.add(() => this.timeline.end());
    this.hold.on(goForm, "submit", (event) => { event.preventDefault(); this.#goTo(); });
    this.hold.on(this.channels, "change", () => void this.#choose(this.channels.value, ""));
    this.hold.on(this.qualities, "change", () => void this.#choose(this.channel, this.qualities.value));
    this.hold.on(this.video, "click", () => this.player?.toggle());
    this.hold.every(ADDRESS_EVERY_MS, () => this.#address());
    this.keys.push(...this.#ownKeys());
    bindKeys(this.hold, this.keys);
  }

  end() {
    this.#address();
    this.player?.end();
    this.book?.end();
    this.hold.end();
    this.video.removeAttribute("src");
    this.video.load();
  }

  // Which quality.

  /** Finds out what there is, and shows what the address says. */
  async start() {
    const { params, api } = this.context;
    // It takes a while to come; who needs it asks again, and sees why where it does not.
    loadHls().catch(() => {});
    for (let failed = 0; !this.hold.ended; failed += 1) {
      try {
        // An address that says it all is shown while the rest is being asked for.
        if (params.channel && params.quality && failed === 0) void this.#show(params.channel, params.quality);
        const channels = await api.channels(this.hold.signal);
        const channel = params.channel ?? channels[0];
        if (channel !== undefined) {
          // Which one it will be takes another answer; what is live of each is asked for meanwhile.
          const master = this.player || params.at ? null : api.master(channel, "", this.hold.signal);
          master?.catch(() => {});
          const qualities = await api.qualities(channel, this.hold.signal);
          const quality = params.quality ?? bestOf(qualities);
          if (quality !== undefined) {
            options(this.channels, [...new Set([...channels, channel])], channel);
            options(this.qualities, [...new Set([...qualities, quality])], quality);
            if (!this.player) await this.#show(channel, quality, master);
            return;
          }
        }
        this.#say("Nothing has been recorded yet.");
      } catch (error) {
        if (wasLeft(error)) return;
        this.#say(inWords(error));
      }
      await pause(2000, this.hold.signal).catch(() => {});
    }
  }

  /** @param {string} channel @param {string} quality empty for the best there is */
  async #choose(channel, quality) {
    const at = this.player && !this.player.isLive && this.player.time !== null ? formatTime(this.player.time) : "";
    let chosen = quality;
    if (!chosen) {
      const all = await this.context.api.qualities(channel, this.hold.signal).catch(() => /** @type {string[]} */ ([]));
      chosen = bestOf(all) ?? "source";
    }
    this.context.navigate(this.view, { channel, quality: chosen, at });
  }

  /** @param {string} channel @param {string} quality @param {Promise<string> | null} [master] */
  async #show(channel, quality, master = null) {
    [this.channel, this.quality] = [channel, quality];
    options(this.channels, [channel], channel);
    options(this.qualities, [quality], quality);
    const { params, api } = this.context;
    const at = params.at ? parseTime(params.at) : null;
    if (params.at && at === null) this.context.announce(`${params.at} is no time such as 2026-01-02T03:04:05.`, { urgent: true });
    this.player = new Player(this.video, api, channel, quality, {
      changed: () => { this.screen.setAttribute("aria-busy", String(this.player?.shown == null && !this.player?.isEmpty)); this.dirty(); },
      jumped: (jump) => { this.#noteThat({ ...jump, isMissing: true }); this.book?.soon(); },
      passed: (jump) => this.#noteThat({ ...jump, isMissing: false }),
      ended: (end) => this.#goOn(end),
      said: (text) => { this.#say(text); this.context.announce(text); },
    }, master);
    this.book = new Book(api, channel, quality, () => this.timeline.view, () => this.dirty());
    const middle = at ?? now();
    this.timeline.show({ start: middle - 4 * MINUTE, end: middle + (at === null ? 0.5 : 4) * MINUTE });
    this.onReady();
    await this.player.open(at ?? "live", { play: at === null || params.play === "1" });
  }

  // Where.

  /** @param {Micros} at */
  seek(at) {
    this.#endedAt = null;
    this.player?.seek(at);
    this.timeline.reveal(at);
  }

  goLive() {
    void this.player?.open("live");
    const length = this.timeline.view.end - this.timeline.view.start;
    const end = now() + length / 10;
    this.timeline.show({ start: end - length, end });
  }

  #goTo() {
    const text = this.go.value.trim();
    const at = parseTime(text) ?? this.#timeOfDay(text);
    if (at === null) {
      this.go.setCustomValidity("A time such as 2026-01-02 03:04:05.678, or 03:04:05 of the day shown; UTC");
      this.go.reportValidity();
      this.go.setCustomValidity("");
      return;
    }
    this.canvas.focus();
    const half = Math.min(this.timeline.view.end - this.timeline.view.start, 20 * MINUTE) / 2;
    this.timeline.show({ start: at - half, end: at + half });
    this.seek(at);
  }

  /** A time alone is of the day that is shown. @param {string} text */
  #timeOfDay(text) {
    const day = formatTime(this.player?.time ?? now()).slice(0, 10);
    return /^\d{1,2}:\d\d/.test(text) ? parseTime(`${day}T${text.padStart(text.indexOf(":") === 1 ? text.length + 1 : 0, "0")}`) : null;
  }

  #address() {
    const { player } = this;
    if (!player || this.hold.ended) return;
    const at = player.isLive || player.time === null ? "" : formatTime(player.time);
    const { channel, quality } = this;
    const to = this.context.address(this.view, { ...this.#kept(), channel, quality, at });
    const isOurs = location.hash === "" || location.hash.startsWith(`#/${this.view}`);
    if (to === this.#addressed || !isOurs) return;
    this.#addressed = to;
    this.context.navigate(this.view, { ...this.#kept(), channel, quality, at }, { replace: true });
  }

  /** What of the address stays as it is. */
  #kept() {
    return /** @type {Record<string, string>} */ (this.context.params.event ? { event: this.context.params.event } : {});
  }

  async copyLink() {
    const { player, channel, quality } = this;
    if (!player || player.time === null) return;
    const to = new URL(this.context.address("watch", { channel, quality, at: formatTime(player.time) }), location.href).href;
    try {
      await navigator.clipboard.writeText(to);
      this.context.announce(`Copied the link to ${showTime(player.time)}`, { urgent: true });
    } catch {
      // Browsers give the clipboard to pages of this machine or of https alone.
      const input = el("input", { type: "text", readonly: true, value: to, "aria-label": "Link to this moment", class: "mono wide" });
      const dialog = el("dialog", { "aria-label": "Link to this moment" }, input, button("Close", () => dialog.close()));
      dialog.addEventListener("close", () => dialog.remove());
      document.body.append(dialog);
      dialog.showModal();
      input.select();
    }
  }

  // Marks lie on the edges of frames: half a frame before the one that comes first, half a frame behind the last.

  /** The edge before the frame on the screen. */
  get edgeBefore() {
    const { player } = this;
    return player?.shown == null ? null : Math.round(player.shown - player.frameMicros / 2);
  }

  /** The edge behind it. */
  get edgeBehind() {
    const { player } = this;
    return player?.shown == null ? null : Math.round(player.shown + player.frameMicros / 2);
  }

  /** @param {"in" | "out"} which */
  mark(which) {
    const at = which === "in" ? this.edgeBefore : this.edgeBehind;
    if (at === null) return;
    this.marks[which] = at;
    const { in: from, out: to } = this.marks;
    if (from !== null && to !== null && to <= from) this.marks[which === "in" ? "out" : "in"] = null;
    this.context.announce(`${which === "in" ? "In" : "Out"} at ${showClock(at, 3)}`);
    this.onMarks();
    this.dirty();
  }

  forgetMarks() {
    this.marks = { in: null, out: null };
    this.onMarks();
    this.dirty();
  }

  // Holes.

  /** @param {import("./player.js").Jump & {isMissing: boolean}} jump */
  #noteThat(jump) {
    this.#noted = jump;
    this.#showNote();
    this.#noteEnds();
    this.#noteEnds = this.hold.after(jump.isMissing ? NOTE_MS : PASSED_NOTE_MS, () => { this.#noted = null; this.#showNote(); });
  }

  /** Why it is missing may become known a moment later. */
  #showNote() {
    const jump = this.#noted;
    this.note.hidden = jump === null;
    if (jump === null) {
      this.noteText.textContent = "";
      this.noteAct.remove();
      return;
    }
    const missing = jump.isMissing ? this.book?.missing({ start: jump.from, end: jump.to }) ?? [] : [];
    const causes = [...new Set(missing.map(({ cause }) => CAUSES[cause]?.words ?? cause))];
    const why = causes.length > 0 ? `: ${causes.join("; ")}` : "";
    const what = `${showLength(jump.to - jump.from)}, from ${showClock(jump.from, 1)} to ${showClock(jump.to, 1)}`;
    const text = jump.isMissing ? `Missing here: ${what}${why}` : `Back at live. Passed over: ${what}`;
    if (this.noteText.textContent !== text) this.noteText.textContent = text;
    if (jump.isMissing) this.noteAct.remove();
    else if (!this.noteAct.isConnected) this.note.append(this.noteAct);
  }

  /** Behind a part of the past comes what is next in the record, however long the hole between them is. @param {Micros} end */
  #goOn(end) {
    const { player, book } = this;
    if (!player || !book) return;
    const hole = book.missing({ start: end - SECOND, end: end + SECOND }).find((one) => one.end > end + SECOND / 2);
    const next = hole ? book.missing({ start: end, end: Infinity }).reduce((at, one) => (one.start <= at + SECOND / 100 ? Math.max(at, one.end) : at), end) : end;
    if (this.#endedAt === next || (book.extent && next >= book.extent.end - SECOND / 2)) {
      player.pause();
      this.context.announce("This is the end of what is recorded.", { urgent: true });
      return;
    }
    this.#endedAt = next;
    if (hole) this.#noteThat({ from: end, to: next, isMissing: true });
    void player.open(next);
  }

  /** Goes to the next hole, or the one before. @param {1 | -1} way */
  toHole(way) {
    const time = this.player?.time;
    if (time == null || !this.book) return;
    const all = this.book.stretches.filter(({ kind }) => kind !== "unsure");
    const found = way > 0 ? all.find(({ start }) => start > time + 3 * SECOND) : all.filter(({ end }) => end < time - 3 * SECOND).at(-1);
    if (!found) {
      this.context.announce(way > 0 ? "Nothing more is missing" : "Nothing is missing before this", { urgent: true });
      return;
    }
    this.seek(found.start - 2 * SECOND);
  }

  #listHoles() {
    const { view } = this.timeline;
    const stretches = this.book?.stretches ?? null;
    // While it plays neither changes from one painting to the next.
    if (this.#listed.stretches === stretches && this.#listed.view === view) return;
    const all = this.book?.touching(view) ?? [];
    const missing = all.filter(({ kind }) => kind !== "unsure");
    const length = missing.reduce((sum, { start, end }) => sum + Math.min(end, view.end) - Math.max(start, view.start), 0);
    const key = `${all.length},${length};${all.slice(0, MOST_LISTED).map(({ start, end, cause }) => `${start},${end},${cause}`).join(";")}`;
    const isSame = key === this.#listed.key;
    this.#listed = { stretches, view, key };
    if (isSame) return;
    const [summary, list] = [this.holes.children[0], this.holes.children[1]];
    summary.textContent = all.length === 0 ? "Nothing is missing in view" : `${missing.length === 0 ? "Nothing" : showLength(length)} missing in view, ${all.length} ${all.length === 1 ? "stretch" : "stretches"}`;
    list.replaceChildren(...all.slice(0, MOST_LISTED).map((one) => {
      const swatch = el("span", { class: `swatch cause-${one.cause}` });
      const go = button(`${showTime(one.start, 1)}, ${showLength(one.end - one.start)}`, () => this.seek(one.start - SECOND), { class: "quiet mono" });
      return el("li", {}, swatch, go, `${CAUSES[one.cause]?.words ?? one.cause}${one.detail ? ` (${one.detail})` : ""}`);
    }));
    if (all.length > MOST_LISTED) list.append(el("li", {}, `and ${all.length - MOST_LISTED} more: zoom in`));
  }

  // Showing it.

  /** @param {string} text */
  #say(text) {
    this.over.textContent = text;
    this.over.hidden = text === "";
  }

  dirty() {
    if (this.#isDirty || this.hold.ended) return;
    this.#isDirty = true;
    this.hold.after(this.player?.isPlaying ? PAINT_EVERY_MS : 16, () => { this.#isDirty = false; this.#draw(); });
  }

  #draw() {
    const { player, book, timeline } = this;
    if (!player || !book) return;
    const time = player.time;
    if (player.shown !== null) this.#say("");
    this.clock.textContent = time === null ? "–" : showTime(time, 3);
    this.playing.textContent = player.isPlaying ? "❚❚" : "▶";
    this.playing.setAttribute("aria-label", player.isPlaying ? "Pause" : "Play");
    this.live.setAttribute("aria-pressed", String(player.isLive));
    this.muting.setAttribute("aria-pressed", String(!this.video.muted));
    this.state.textContent = this.#stateText();
    timeline.time = time;
    timeline.marks = this.marks;
    timeline.stretches = book.stretches;
    timeline.extent = book.extent;
    timeline.frameMicros = player.frameMicros;
    if (time !== null && player.isPlaying) timeline.follow(time);
    if (time !== null) {
      this.canvas.setAttribute("aria-valuetext", `${showTime(time, player.isPlaying ? 0 : 3)} UTC`);
      const extent = book.extent;
      const share = extent ? Math.round((100 * (time - extent.start)) / Math.max(1, extent.end - extent.start)) : 0;
      this.canvas.setAttribute("aria-valuenow", String(Math.min(100, Math.max(0, share))));
    }
    timeline.dirty();
    this.#showNote();
    this.#listHoles();
    this.onChange();
  }

  #stateText() {
    const { player } = this;
    if (!player) return "";
    if (this.book?.trouble && player.isWaiting) return this.book.trouble;
    if (player.isEmpty) return "nothing recorded";
    if (player.isWaiting || player.shown === null) return "loading …";
    if (player.speed !== 1) return `${player.speed} ×`;
    if (!player.isLive) return player.isPlaying ? "playing" : "paused";
    return `live, ${sayLength(Math.max(0, this.context.api.nodeNow() - player.shown))} behind${player.isCatchingUp ? ", catching up" : ""}`;
  }

  /** @returns {Key[]} */
  #ownKeys() {
    const p = (/** @type {(player: Player) => void} */ act) => () => { if (this.player) act(this.player); };
    const by = (/** @type {number} */ micros) => p((player) => { if (player.time !== null) this.seek(player.time + micros); });
    return [
      { keys: [" "], does: "Play, pause", act: p((player) => player.toggle()) },
      { keys: ["k"], does: "Pause", act: p((player) => player.pause()) },
      { keys: ["l"], does: "Play; again: faster", act: p((player) => player.faster()) },
      { keys: ["j"], does: "Play backwards; again: faster", act: p((player) => player.backwards()) },
      { keys: ["ArrowLeft"], does: "One frame back", act: p((player) => player.step(-1)), repeats: true },
      { keys: ["ArrowRight"], does: "One frame on", act: p((player) => player.step(1)), repeats: true },
      { keys: ["Shift+ArrowLeft"], does: "One second back", act: by(-SECOND), repeats: true },
      { keys: ["Shift+ArrowRight"], does: "One second on", act: by(SECOND), repeats: true },
      { keys: ["Ctrl+ArrowLeft"], does: "Ten seconds back", act: by(-10 * SECOND), repeats: true },
      { keys: ["Ctrl+ArrowRight"], does: "Ten seconds on", act: by(10 * SECOND), repeats: true },
      { keys: ["i"], does: "In: the frame shown is the first", act: () => this.mark("in") },
      { keys: ["o"], does: "Out: the frame shown is the last", act: () => this.mark("out") },
      { keys: ["Escape"], does: "Forget in and out", act: () => this.forgetMarks() },
      { keys: ["["], does: "To the hole before", act: () => this.toHole(-1) },
      { keys: ["]"], does: "To the next hole", act: () => this.toHole(1) },
      { keys: ["+", "="], does: "See less of the timeline, larger", act: () => this.timeline.zoom(0.5), repeats: true },
      { keys: ["-"], does: "See more of the timeline", act: () => this.timeline.zoom(2), repeats: true },
      { keys: ["End"], does: "Live", act: () => this.goLive() },
      { keys: ["Home"], does: "The first second there is", act: () => { if (this.book?.extent) this.seek(this.book.extent.start); } },
      { keys: ["g"], does: "Jump to a time", act: () => { this.go.focus(); this.go.select(); } },
      { keys: ["c"], does: "Copy a link to this moment", act: () => void this.copyLink() },
      { keys: ["m"], does: "Sound on, off", act: () => { this.video.muted = !this.video.muted; } },
      { keys: ["?"], does: "This", act: () => showKeys(this.keys) },
    ];
  }
}

/** @param {string[]} qualities */
function bestOf(qualities) {
  return qualities.includes("source") ? "source" : qualities[0];
}

/** @param {HTMLSelectElement} select @param {string[]} all @param {string} chosen */
function options(select, all, chosen) {
  select.replaceChildren(...all.map((one) => el("option", { value: one }, one)));
  select.value = chosen;
}

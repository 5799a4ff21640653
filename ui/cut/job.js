/** What is said of a video, and handing it over as a job. What somebody else changed meanwhile is explained; nothing typed is lost. */

import { ApiError, inWords } from "../api.js";
import { button, el } from "../dom.js";
import { formatTime, parseTime, showTime } from "../time.js";
import * as drafts from "./draft.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./draft.js").Drafting} Drafting */
/** @typedef {import("./draft.js").Thumbnail} Thumbnail */
/** @typedef {import("../api.js").JobEvent} JobEvent */

const MODES = /** @type {const} */ ([["NONE", "none"], ["BARE", "a frame"], ["TEMPLATE", "a frame under a template"], ["CUSTOM", "a picture of mine"]]);
/** What YouTube takes, and so a node. */
const MOST_IMAGE_BYTES = 2 << 20;
const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** What people call the columns. @type {Record<string, string>} */
const WORDS = {
  video_ranges: "Ranges", video_transitions: "Transitions", video_title: "Title", video_description: "Description", video_tags: "Tags",
  upload_location: "Where to", allow_holes: "Holes allowed", thumbnail_mode: "Thumbnail", thumbnail_time: "Thumbnail's moment",
  thumbnail_template: "Thumbnail's template", thumbnail_image: "Thumbnail's picture", video_channel: "Channel", video_quality: "Quality",
};

export class Job {
  /** The event that this draft is of. @type {{id: string, version: number, state: string} | null} */
  event = null;
  #isBusy = false;
  /** @type {string | null} */
  #shownThumbnail = null;

  /**
   * @param {import("../app.js").Context} context
   * @param {Drafting} drafting
   * @param {{channel: string, quality: string, time: () => number | null, frameMicros: () => number}} deck
   * @param {import("../dom.js").Hold} hold
   */
  constructor(context, drafting, deck, hold) {
    this.context = context;
    this.drafting = drafting;
    this.deck = deck;
    this.hold = hold;
    this.title = el("input", { type: "text", maxlength: "100", name: "title" });
    this.description = el("textarea", { rows: "4", maxlength: "5000", name: "description" });
    this.tags = el("input", { type: "text", name: "tags", placeholder: "with commas between" });
    this.locations = el("datalist", { id: "locations" });
    this.location = el("input", { type: "text", name: "location", list: "locations" });
    this.mode = el("select", { name: "thumbnail" }, ...MODES.map(([value, words]) => el("option", { value }, words)));
    this.template = el("select", { "aria-label": "Template" });
    this.moment = el("output", { class: "mono" });
    this.here = button("The frame shown", () => this.#setThumbnail({ time: deck.time() }));
    this.file = el("input", { type: "file", accept: "image/png", "aria-label": "A PNG, 1280 by 720" });
    this.picture = el("img", { class: "thumbnail", alt: "The thumbnail as it will be", hidden: true });
    this.pictureSaid = el("span", { class: "faint", role: "status" });
    this.submit = el("button", { type: "submit", class: "primary" }, "File as a job");
    this.said = el("p", { role: "status" });
    const field = (/** @type {string} */ words, /** @type {HTMLElement} */ of) => el("label", { class: "field" }, el("span", {}, words), of);
    this.root = el("form", { class: "job panel", "aria-labelledby": "job-title" },
      el("h2", { id: "job-title" }, "As a job"),
      field("Title", this.title), field("Description", this.description), field("Tags", this.tags), field("Where to", this.location), this.locations,
      el("div", { class: "row" }, field("Thumbnail", this.mode), this.template, this.file, this.here, this.moment),
      this.picture, this.pictureSaid, this.submit, this.said);
    for (const [name, element] of /** @type {["title" | "description" | "tags" | "location", HTMLInputElement | HTMLTextAreaElement][]} */ ([["title", this.title], ["description", this.description], ["tags", this.tags], ["location", this.location]])) {
      hold.on(element, "input", () => drafting.set({ ...drafting.now, [name]: element.value }, name));
      hold.on(element, "change", () => drafting.settle());
    }
    hold.on(this.mode, "change", () => this.#setThumbnail({ mode: /** @type {Thumbnail["mode"]} */ (this.mode.value), time: drafting.now.thumbnail.time ?? deck.time() ?? drafting.now.ranges[0]?.start ?? null }));
    hold.on(this.template, "change", () => this.#setThumbnail({ template: this.template.value || null }));
    hold.on(this.file, "change", () => void this.#upload());
    hold.on(this.root, "submit", (event) => { event.preventDefault(); void this.hand(); });
    hold.add(() => { if (this.#shownThumbnail) URL.revokeObjectURL(this.#shownThumbnail); });
  }

  /** What editors start from, and the event of the address. @param {string | undefined} id */
  async begin(id) {
    const { api } = this.context;
    const [defaults, templates] = await Promise.all([api.defaults(this.hold.signal).catch(() => null), api.templates(this.hold.signal).catch(() => [])]);
    const locations = /** @type {string[]} */ (defaults?.upload_locations ?? []);
    this.locations.replaceChildren(...locations.map((value) => el("option", { value })));
    if (defaults?.title_max_length) this.title.maxLength = defaults.title_max_length;
    this.templates = templates;
    this.template.replaceChildren(el("option", { value: "" }, "which?"), ...templates.map(({ name, description }) => el("option", { value: name }, description ? `${name}: ${description}` : name)));
    const { now } = this.drafting;
    if (!now.location && locations.length > 0) this.drafting.set({ ...now, location: locations[0] }, "defaults");
    if (id) await this.#open(id);
    this.show(this.drafting.now);
  }

  /** @param {string} id */
  async #open(id) {
    try {
      const event = await this.context.api.event(id, this.hold.signal);
      const kept = Number(localStorage.getItem(`${this.drafting.name}.version`) ?? NaN);
      // A draft that is here already stays, with the version that it was begun from.
      const isBegun = this.drafting.now.ranges.length > 0 && Number.isInteger(kept);
      this.#know(event, isBegun ? kept : event.version);
      if (!isBegun) this.drafting.set(draftOf(event));
    } catch (error) {
      this.said.textContent = `Event ${id} cannot be opened: ${inWords(error)}`;
    }
  }

  /** What is filed next is another event. */
  forget() {
    this.event = null;
    this.said.textContent = "";
    for (const kept of ["id", "version"]) localStorage.removeItem(`${this.drafting.name}.${kept}`);
  }

  /** @param {JobEvent} event @param {number} version */
  #know(event, version = event.version) {
    this.event = { id: event.id, version, state: event.state };
    localStorage.setItem(`${this.drafting.name}.version`, String(version));
  }

  /** @param {Draft} draft */
  show(draft) {
    const put = (/** @type {HTMLInputElement | HTMLTextAreaElement} */ element, /** @type {string} */ text) => { if (element.value !== text) element.value = text; };
    put(this.title, draft.title);
    put(this.description, draft.description);
    put(this.tags, draft.tags);
    put(this.location, draft.location);
    const { mode, time, template } = draft.thumbnail;
    this.mode.value = mode;
    this.template.hidden = mode !== "TEMPLATE";
    this.template.value = template ?? "";
    this.file.hidden = mode !== "CUSTOM";
    this.here.hidden = this.moment.hidden = mode !== "BARE" && mode !== "TEMPLATE";
    this.moment.textContent = time === null ? "no moment yet" : showTime(time, 3);
    this.submit.textContent = this.event ? `Submit event ${this.event.id}` : "File as a job";
    this.submit.disabled = this.#isBusy;
    this.#showThumbnail(draft.thumbnail);
  }

  // The thumbnail, as it will be.

  /** @param {Partial<Thumbnail>} to */
  #setThumbnail(to) {
    const { now } = this.drafting;
    this.drafting.set({ ...now, thumbnail: { ...now.thumbnail, ...to } });
  }

  async #upload() {
    const file = this.file.files?.[0];
    if (!file) return;
    const bytes = file.size <= MOST_IMAGE_BYTES ? new Uint8Array(await file.arrayBuffer()) : null;
    // The one that was chosen before stays.
    if (bytes === null) this.pictureSaid.textContent = `${file.name} has more than 2 MB.`;
    else if (!await isPng(bytes)) this.pictureSaid.textContent = `${file.name} is no PNG that can be shown.`;
    else this.#setThumbnail({ image: base64(bytes) });
  }

  #thumbnailKey = "";

  /** @param {Thumbnail} thumbnail */
  #showThumbnail({ mode, time, template, image }) {
    const key = `${mode} ${mode === "CUSTOM" ? image?.length : `${time} ${template}`}`;
    if (key === this.#thumbnailKey) return;
    this.#thumbnailKey = key;
    const isReady = mode === "BARE" ? time !== null : mode === "TEMPLATE" ? time !== null && template !== null : mode === "CUSTOM" && image !== null;
    this.picture.hidden = !isReady;
    this.pictureSaid.textContent = "";
    if (!isReady) return;
    this.#drawThumbnail({ mode, time, template, image }).then((address) => {
      if (key !== this.#thumbnailKey) return;
      if (this.#shownThumbnail) URL.revokeObjectURL(this.#shownThumbnail);
      this.#shownThumbnail = address;
      this.picture.src = address;
    }).catch((error) => { if (key === this.#thumbnailKey) { this.picture.hidden = true; this.pictureSaid.textContent = inWords(error); } });
  }

  /** @param {Thumbnail} thumbnail @returns {Promise<string>} */
  async #drawThumbnail({ mode, time, template, image }) {
    const { api } = this.context;
    const { signal } = this.hold;
    const at = time ?? 0;
    if (mode === "CUSTOM") return URL.createObjectURL(new Blob([bytesOf(image ?? "")], { type: "image/png" }));
    if (mode === "BARE") return api.frame(this.deck.channel, this.deck.quality, at, signal);
    // The database's templates are the editors'; the node draws with whatever it is handed.
    const about = this.templates?.find(({ name }) => name === template);
    const over = await (await api.ask(`/thrimshim/template/${encodeURIComponent(template ?? "")}.png`, { signal })).blob();
    const query = { timestamp: formatTime(at), crop: about?.crop?.join(","), location: about?.location?.join(",") };
    const path = `/thumbnail/${encodeURIComponent(this.deck.channel)}/${encodeURIComponent(this.deck.quality)}.png`;
    return URL.createObjectURL(await (await api.ask(path, { method: "POST", body: over, query, signal, deadline: 140_000 })).blob());
  }

  // Handing it over.

  /** What the event is to say. */
  #fields() {
    const { now } = this.drafting;
    const { mode, time, template, image } = now.thumbnail;
    return {
      video_ranges: now.ranges.map(({ start, end }) => [formatTime(start), formatTime(end)]),
      video_transitions: now.joints.map((joint) => (joint ? [joint.kind, joint.seconds] : null)),
      video_title: now.title,
      video_description: now.description,
      video_tags: now.tags.split(",").map((tag) => tag.trim()).filter(Boolean),
      video_channel: this.deck.channel,
      video_quality: this.deck.quality,
      upload_location: now.location || null,
      allow_holes: now.allowHoles,
      thumbnail_mode: mode,
      thumbnail_time: (mode === "BARE" || mode === "TEMPLATE") && time !== null ? formatTime(time) : null,
      thumbnail_template: mode === "TEMPLATE" ? template : null,
      ...(mode === "CUSTOM" && image ? { thumbnail_image: image } : {}),
    };
  }

  /** Files it, or submits the event that it is of. */
  async hand() {
    if (this.#isBusy) return;
    const { now } = this.drafting;
    const lacks = now.title.trim() === "" ? this.title : now.location.trim() === "" ? this.location : null;
    const unsaid = lacks === this.title ? "It needs a title." : "It needs a place to go: “Where to”.";
    const fault = drafts.fault(now) ?? (lacks ? unsaid : thumbnailFault(now.thumbnail));
    if (fault) {
      this.said.textContent = fault;
      lacks?.focus();
      return;
    }
    this.#isBusy = true;
    this.submit.disabled = true;
    this.said.textContent = "…";
    try {
      await this.#note();
      await this.#submit();
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) await this.#conflict(error);
      else this.said.textContent = `It was not filed: ${inWords(error)}`;
    } finally {
      this.#isBusy = false;
      this.submit.disabled = false;
    }
  }

  /** An event of its own, once: who is cut off and asks again gets the same. */
  async #note() {
    if (this.event) return;
    const { api } = this.context;
    const { now } = this.drafting;
    const id = localStorage.getItem(`${this.drafting.name}.id`) ?? newId();
    localStorage.setItem(`${this.drafting.name}.id`, id);
    const starts = now.ranges.map(({ start }) => start);
    const ends = now.ranges.map(({ end }) => end);
    const fields = { id, description: now.title, event_start: formatTime(Math.min(...starts)), event_end: formatTime(Math.max(...ends)) };
    try {
      this.#know(await api.addEvent(fields));
    } catch (error) {
      if (!(error instanceof ApiError && error.code === "taken")) throw error;
      this.#know(await api.event(id));
    }
  }

  async #submit(version = this.event?.version) {
    if (!this.event) return;
    const isPublished = this.event.state === "DONE" || this.event.state === "MODIFIED";
    const state = isPublished ? "MODIFIED" : "EDITED";
    const event = await this.context.api.changeEvent(this.event.id, { ...this.#fields(), version, state });
    this.#know(event);
    localStorage.removeItem(`${this.drafting.name}.id`);
    const { address } = this.context;
    const link = el("a", { href: address("jobs", { event: event.id }) }, "see it among the jobs");
    this.said.replaceChildren(`Filed as ${event.id}, ${event.state}: `, link);
    this.context.announce(`Filed: ${event.video_title}`);
    this.show(this.drafting.now);
  }

  /** @param {ApiError} error */
  async #conflict(error) {
    if (error.code !== "changed" || !this.event) {
      this.said.textContent = `It was not filed: ${inWords(error)} What you have typed is still here.`;
      return;
    }
    const theirs = await this.context.api.event(this.event.id);
    const mine = /** @type {Record<string, unknown>} */ (this.#fields());
    const differ = Object.keys(mine).filter((name) => JSON.stringify(mine[name]) !== JSON.stringify(theirs[name]));
    const show = (/** @type {unknown} */ value) => (typeof value === "string" ? value.slice(0, 300) : JSON.stringify(value) ?? "");
    const rows = differ.map((name) => el("tr", {}, el("th", { scope: "row" }, WORDS[name] ?? name), el("td", {}, show(mine[name])), el("td", {}, show(theirs[name]))));
    const dialog = el("dialog", { "aria-labelledby": "conflict-title" },
      el("h2", { id: "conflict-title" }, "Somebody else has changed this event"),
      el("p", {}, error.detail),
      el("table", {}, el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, "Yours"), el("th", { scope: "col" }, "Theirs"))), el("tbody", {}, ...rows)),
      el("div", { class: "row" },
        button("Submit mine", () => { dialog.close(); this.#know(theirs); void this.hand(); }, { class: "primary" }),
        button("Take theirs (undo brings mine back)", () => { dialog.close(); this.#know(theirs); this.drafting.set(draftOf(theirs)); }),
        button("Keep editing", () => dialog.close())));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    this.said.textContent = "It was not filed: somebody else has changed the event. What you have typed is still here.";
  }
}

/** @param {JobEvent} event @returns {Draft} */
export function draftOf(event) {
  const spans = /** @type {[string, string][]} */ (event.video_ranges ?? (event.event_start && event.event_end ? [[event.event_start, event.event_end]] : []));
  let draft = drafts.EMPTY;
  for (const [start, end] of spans) {
    const [from, to] = [parseTime(start ?? ""), parseTime(end ?? "")];
    if (from !== null && to !== null) draft = drafts.add(draft, from, to);
  }
  const joints = /** @type {([string, number] | null)[]} */ (event.video_transitions ?? []);
  return {
    ...draft,
    joints: draft.joints.map((_, at) => (joints[at] ? { kind: joints[at][0], seconds: joints[at][1] } : null)),
    title: event.video_title ?? event.description ?? "",
    description: event.video_description ?? "",
    tags: (event.video_tags ?? event.tags ?? []).join(", "),
    location: event.upload_location ?? "",
    allowHoles: event.allow_holes === true,
    thumbnail: {
      mode: event.thumbnail_mode ?? "NONE",
      time: event.thumbnail_time ? parseTime(event.thumbnail_time) : null,
      template: event.thumbnail_template ?? null,
      image: event.thumbnail_image ?? null,
    },
  };
}

/** @param {Thumbnail} thumbnail @returns {string | null} */
function thumbnailFault({ mode, time, template, image }) {
  if ((mode === "BARE" || mode === "TEMPLATE") && time === null) return "The thumbnail needs a moment.";
  if (mode === "TEMPLATE" && template === null) return "The thumbnail needs a template.";
  return mode === "CUSTOM" && image === null ? "The thumbnail needs a picture." : null;
}

/** `randomUUID` is for pages of https alone. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function isPng(bytes) {
  if (!PNG_SIGNATURE.every((byte, at) => bytes[at] === byte)) return false;
  return createImageBitmap(new Blob([bytes], { type: "image/png" })).then(() => true, () => false);
}

/** @param {Uint8Array} bytes */
function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** @param {string} text in base64 */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * The page: which view is shown, dark or light, who is signed in, what is said to everybody. A view is a module in views/
 * that exports `mount(root, context)` and answers with `{unmount()}`; all that it starts ends there.
 */

import { Api, ApiError, inWords } from "./api.js";
import { button, el } from "./dom.js";
import { Live } from "./live.js";
import { SignIn } from "./sign.js";

/** @typedef {Record<string, string>} Params `channel` and `quality` from the path, the rest from the query */
/**
 * @typedef {object} Context
 * @property {Api} api
 * @property {Live} live
 * @property {Params} params
 * @property {(view: string, params: Params, how?: {replace?: boolean}) => void} navigate with `replace` the address alone changes
 * @property {(view: string, params: Params) => string} address of a view, for links
 * @property {(text: string, how?: {urgent?: boolean}) => void} announce to those who hear and, where it is urgent, to those who see
 */
/** @typedef {{unmount(): void}} Mounted */
/** @typedef {{name: string, title: string, module: string, styles: string[]}} View */

/** In the order of the navigation; what the first of them takes is in index.html. @type {View[]} */
const VIEWS = [
  { name: "watch", title: "Watch", module: "./views/watch.js", styles: [] },
  { name: "cut", title: "Mark and cut", module: "./views/cut.js", styles: ["views/cut.css"] },
  { name: "jobs", title: "Jobs", module: "./views/jobs.js", styles: ["views/jobs.css"] },
  { name: "record", title: "Record", module: "./views/record.js", styles: ["views/record.css"] },
];

const THEME = "segvault.theme";
const ALARM_MS = 8000;

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

const api = new Api();
const live = new Live(api);
const signIn = new SignIn(api);

// Where we are.

/** @returns {{view: View, params: Params}} */
function whereWeAre() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, channel, quality] = path.split("/").map(decodeURIComponent);
  const params = /** @type {Params} */ (Object.fromEntries(new URLSearchParams(query)));
  if (channel) params.channel = channel;
  if (quality) params.quality = quality;
  return { view: VIEWS.find((view) => view.name === name) ?? VIEWS[0], params };
}

/** @param {string} view @param {Params} params */
function address(view, params) {
  const { channel, quality, ...rest } = params;
  const parts = [view, ...(channel ? [channel] : []), ...(channel && quality ? [quality] : [])];
  const pairs = Object.entries(rest).filter(([, value]) => value !== undefined && value !== "");
  // Colons and commas are legal in a fragment, and addresses are read by people.
  const plain = (/** @type {string} */ text) => encodeURIComponent(text).replaceAll("%3A", ":").replaceAll("%2C", ",");
  const query = pairs.map(([name, value]) => `${plain(name)}=${plain(value)}`).join("&");
  return `#/${parts.map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

/** @type {Context["navigate"]} */
function navigate(view, params, { replace = false } = {}) {
  const to = address(view, params);
  if (replace) {
    history.replaceState(null, "", to);
    showLinks();
  } else {
    location.hash = to;
  }
}

// Views.

/** @type {Mounted | null} */
let mounted = null;
let turn = 0;
/** @type {Map<string, Promise<void>>} */
const styles = new Map();

/** @param {string} name */
function style(name) {
  const loading = styles.get(name) ?? new Promise((done) => {
    const link = el("link", { rel: "stylesheet", href: `/ui/${name}` });
    link.onload = link.onerror = () => done();
    document.head.append(link);
  });
  styles.set(name, loading);
  return loading;
}

async function show() {
  const mine = ++turn;
  const { view, params } = whereWeAre();
  mounted?.unmount();
  mounted = null;
  document.title = `${view.title} – segvault`;
  showLinks();
  try {
    const [module] = await Promise.all([import(view.module), ...view.styles.map(style)]);
    if (mine !== turn) return;
    const root = $("view");
    root.replaceChildren();
    root.className = `view-${view.name}`;
    mounted = module.mount(root, { api, live, params, navigate, address, announce });
  } catch (error) {
    if (mine !== turn) return;
    // The node may be away for a moment, and a module with it.
    $("view").replaceChildren(
      el("p", { class: "notice" }, `This view cannot be shown: ${inWords(error)}`),
      button("Try again", () => location.reload()),
    );
  }
}

function showLinks() {
  const { view, params } = whereWeAre();
  const { channel, quality } = params;
  const where = /** @type {Params} */ (channel && quality ? { channel, quality } : {});
  const links = $("views");
  // They stay the same elements: somebody may be on one of them.
  if (links.childElementCount === 0) links.append(...VIEWS.map(({ title }) => el("a", {}, title)));
  for (const [at, { name }] of VIEWS.entries()) {
    const link = links.children[at];
    link.setAttribute("href", address(name, where));
    if (name === view.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Dark and light.

function showTheme() {
  const chosen = localStorage.getItem(THEME);
  const light = /** @type {HTMLLinkElement} */ ($("light"));
  light.media = chosen === "light" ? "all" : chosen === "dark" ? "not all" : "(prefers-color-scheme: light)";
  // Canvases are painted in the theme's colours.
  document.dispatchEvent(new CustomEvent("themechange"));
}

function switchTheme() {
  const isDark = getComputedStyle(document.documentElement).colorScheme === "dark";
  localStorage.setItem(THEME, isDark ? "light" : "dark");
  showTheme();
  announce(isDark ? "Light" : "Dark");
}

// What is said.

/** @type {ReturnType<typeof setTimeout> | undefined} */
let alarmEnds;

/** @type {Context["announce"]} */
function announce(text, { urgent = false } = {}) {
  if (!urgent) {
    $("said").textContent = text;
    return;
  }
  const alarm = $("alarm");
  alarm.textContent = text;
  alarm.hidden = false;
  clearTimeout(alarmEnds);
  alarmEnds = setTimeout(() => { alarm.hidden = true; alarm.textContent = ""; }, ALARM_MS);
}

// Who asks.

function showSigned() {
  $("sign").textContent = api.token ? "Sign out" : "Sign in";
}

async function sign() {
  if (api.token) {
    api.token = null;
    announce("Signed out");
  } else {
    const token = await signIn.ask("");
    if (!token) return;
    api.token = token;
    try {
      announce(`Signed in as ${await api.whoAmI()}`, { urgent: true });
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) api.token = null;
      announce(inWords(error), { urgent: true });
    }
  }
}

// The node itself.

async function nameNode() {
  try {
    const { name } = await api.node();
    $("node").textContent = name;
    // Where nobody is asked, nobody has to say.
    $("sign").hidden = (await signIn.ways()).mode === "none";
  } catch {
    // The view says what is wrong.
  }
}

api.askToken = (/** @type {string} */ why) => signIn.ask(why);
api.onToken = showSigned;
api.onReachable = (/** @type {boolean} */ isReachable) => {
  const link = $("link");
  link.hidden = isReachable;
  link.textContent = isReachable ? "" : "The node does not answer; trying again";
  announce(isReachable ? "The node answers again" : "The node does not answer");
};
showTheme();
showSigned();
$("theme").addEventListener("click", switchTheme);
$("sign").addEventListener("click", () => void sign());
window.matchMedia("(prefers-color-scheme: light)").addEventListener("change", showTheme);
window.addEventListener("hashchange", () => void show());
// `#view` is the skip link's address and no view of ours.
document.querySelector(".skip")?.addEventListener("click", (event) => { event.preventDefault(); $("view").focus(); });
void show();
void nameNode();

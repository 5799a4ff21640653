/**
 * Who asks: a token that is typed in, or an ID token from the page of an issuer that the node knows (OpenID Connect Core 1.0
 * §3.2, the implicit flow with an ID token alone: the node, which verifies it, takes nothing else). It is kept until the tab is closed.
 */

import { button, el } from "./dom.js";

/** @typedef {{issuer: string, client_id: string, authorization_endpoint: string}} Issuer */
/** @typedef {{mode: "none" | "tokens" | "oidc", signed_in: string, issuers: Issuer[]}} Ways as /api/v1/sign-in tells them */

/** Between this page and that on which people come back (signed-in.js). */
const CHANNEL = "segvault.sign-in";
const WINDOW = "popup,width=520,height=680";

export class SignIn {
  /** One dialog for all that wait for it. @type {Promise<string | null> | null} */
  #asking = null;

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /** @returns {Promise<Ways>} */
  ways() {
    return this.api.json("/api/v1/sign-in");
  }

  /**
   * Asks somebody for a token; null if they would rather not.
   * @param {string} why
   * @returns {Promise<string | null>}
   */
  ask(why) {
    this.#asking ??= this.#ask(why).finally(() => { this.#asking = null; });
    return this.#asking;
  }

  /** @param {string} why @returns {Promise<string | null>} */
  async #ask(why) {
    const { issuers, signed_in: back } = await this.ways().catch(() => ({ issuers: [], signed_in: "" }));
    const channel = new BroadcastChannel(CHANNEL);
    return new Promise((done) => {
      const input = el("input", { type: "password", name: "token", autocomplete: "off", required: true });
      const said = el("p", { role: "status" });
      let token = /** @type {string | null} */ (null);
      /** What an answer must say to be one to us. @type {{issuer: string, state: string, nonce: string} | null} */
      let expected = null;
      const logIn = (/** @type {Issuer} */ issuer) => {
        expected = { issuer: issuer.issuer, state: random(), nonce: random() };
        const opened = window.open(loginAddress(issuer, back, expected), "_blank", WINDOW);
        said.textContent = opened ? `Waiting for ${hostOf(issuer.issuer)} …` : "The browser keeps the window from being opened; allow it for this page.";
      };
      const pages = issuers.map((issuer) => button(`Sign in with ${hostOf(issuer.issuer)}`, () => logIn(issuer), { class: "primary" }));
      const form = el("form", { method: "dialog" },
        el("h2", { id: "token-title" }, "Sign in"),
        el("p", {}, why || "This changes something, so the node asks who you are. It is kept until this tab is closed."),
        pages.length > 0 ? el("div", { class: "row" }, ...pages) : null,
        said,
        el("label", {}, pages.length > 0 ? "or a token" : "Token", input),
        el("div", { class: "row" }, el("button", { type: "submit", class: pages.length > 0 ? "" : "primary" }, "Use the token"), button("Not now", () => dialog.close())));
      const dialog = el("dialog", { "aria-labelledby": "token-title", class: "sign" }, form);
      channel.onmessage = (/** @type {MessageEvent} */ { data }) => {
        const answer = new URLSearchParams(data.answer ?? "");
        if (!expected || answer.get("state") !== expected.state) return;
        channel.postMessage({ taken: expected.state });
        const found = answer.get("id_token");
        if (found && claimsOf(found)?.nonce === expected.nonce) {
          token = found;
          dialog.close();
          return;
        }
        said.textContent = found
          ? "What came back was not made for this sign-in. Try again."
          : `${hostOf(expected.issuer)} did not sign you in: ${answer.get("error_description") ?? answer.get("error") ?? "it does not say why"}.`;
        // An answer counts once.
        expected = null;
      };
      form.addEventListener("submit", () => { token = input.value.trim() || null; });
      dialog.addEventListener("close", () => { channel.close(); dialog.remove(); done(token); });
      document.body.append(dialog);
      dialog.showModal();
      (pages[0] ?? input).focus();
    });
  }
}

/** @param {Issuer} issuer @param {string} back @param {{state: string, nonce: string}} expected */
function loginAddress({ client_id, authorization_endpoint }, back, { state, nonce }) {
  const address = new URL(authorization_endpoint);
  const query = { response_type: "id_token", scope: "openid email", client_id, redirect_uri: new URL(back, location.origin).href, state, nonce };
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  return address.href;
}

/** What an ID token says, unverified: that is the node's to do. @param {string} token @returns {Record<string, unknown> | null} */
function claimsOf(token) {
  try {
    const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return null;
  }
}

function random() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} address */
function hostOf(address) {
  return new URL(address).host;
}

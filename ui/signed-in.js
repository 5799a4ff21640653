/** Where an issuer sends people back to: hands what it answered to the page that asked, and goes away. */

const NOBODY_MS = 3000;

const answer = location.hash.slice(1) || location.search.slice(1);
// Nobody finds the token in the browser's history.
history.replaceState(null, "", location.pathname);
const said = /** @type {HTMLElement} */ (document.getElementById("said"));
// The window in which people log in and the page do not hold each other; they have a channel of this origin.
const channel = new BroadcastChannel("segvault.sign-in");
channel.onmessage = (/** @type {MessageEvent} */ { data }) => {
  if (data.taken !== new URLSearchParams(answer).get("state")) return;
  said.textContent = "Go back to the page that you came from; this window may be closed.";
  window.close();
};
channel.postMessage({ answer });
setTimeout(() => {
  if (said.textContent === "A moment …") said.textContent = "The page that asked for this is gone. Close this window, and sign in again where you need it.";
}, NOBODY_MS);

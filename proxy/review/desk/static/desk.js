// What the desk's pages do besides what they do without it: they keep themselves up to date, count down, and take keys.
// Nothing here decides anything, and nothing is put into a page that the desk did not send as a page of its own.

const LIVE = "desk-live";
const KEYS = "desk-keys";
const AGAIN_MS = 400;
const FAILED_MS = 2000;
const QUIET_MS = 500;

const body = document.body;
const page = body.dataset.page ?? "";
const announced = document.getElementById("announce");
const state = document.getElementById("live-state");

// --- the page, again ------------------------------------------------------------------------------------------------

let due = 0;
let asking = false;

function refreshSoon(after_ms = AGAIN_MS) {
  if (due === 0) due = window.setTimeout(refresh, after_ms);
}

async function refresh() {
  due = 0;
  if (asking) return refreshSoon();
  asking = true;
  try {
    const answer = await fetch(here(), { headers: { [LIVE]: "1" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") {
      if (page === "empty") location.assign("/");
      if (page === "confirm") location.assign(`/holds/${encodeURIComponent(body.dataset.hold)}`);
      return;
    }
    if (answer.status === 401) return signedOut();
    if (answer.status >= 500) return isOld();
    if (!answer.ok) return body.dataset.hold === undefined ? undefined : notHere();
    replaceParts(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    refreshSoon(FAILED_MS);
  } finally {
    asking = false;
  }
}

function replaceParts(fresh) {
  if ((fresh.body.dataset.page ?? "") !== page) return;
  readClock(fresh.body.dataset.now);
  const changed = fresh.body.dataset.state !== body.dataset.state;
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = fresh.getElementById(old.id);
    if (part === null || part.outerHTML === old.outerHTML) continue;
    const inUse = old.contains(document.activeElement);
    // What somebody is about to press or to fill in stays, unless there is nothing left to decide.
    if (old.id === "decide" && old.dataset.state === part.dataset.state) continue;
    if (inUse && old.id !== "list" && !changed) continue;
    const focused = inUse ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(document.adoptNode(part));
    if (inUse) refocus(part, focused);
  }
  if (changed && fresh.body.dataset.state !== undefined) {
    body.dataset.state = fresh.body.dataset.state;
    announce(document.getElementById("standing")?.textContent ?? "");
  }
  const count = document.getElementById("count");
  if (page === "queue" && count !== null) announce(count.textContent);
}

function refocus(part, href) {
  const links = href === null ? [] : [...part.querySelectorAll("a")];
  const same = links.find((link) => link.getAttribute("href") === href);
  if (same !== undefined) same.focus({ preventScroll: true });
  else if (part.tabIndex >= -1) part.focus({ preventScroll: true });
}

function announce(text) {
  const plain = text.replace(/\s+/g, " ").trim();
  if (announced !== null && announced.textContent !== plain) announced.textContent = plain;
}

function signedOut() {
  gone = true;
  source?.close();
  if (state !== null) state.textContent = "signed out";
  tell("signed-out", "You are signed out, and this page is no longer kept up to date. ", "/enter", "Sign in");
}

// The store may have lost what this page shows, or it is over and was cleared away.
function notHere() {
  tell("not-here", "What this page shows is not there any more, or cannot be read. ", here(), "Look again");
}

// What is shown is older than what happened, and stays so until the desk knows more: then the notices are replaced.
function isOld() {
  tell("is-old", "The desk cannot tell what happens now. What you see may be old. ", here(), "Look again");
  refreshSoon(FAILED_MS);
}

// A page that answers a form stands at the form's address; what it shows has one of its own.
function here() {
  return body.dataset.here ?? location.pathname + location.search;
}

function tell(id, text, href, label) {
  const notices = document.getElementById("notices");
  if (notices === null || document.getElementById(id) !== null) return;
  const notice = document.createElement("p");
  notice.id = id;
  notice.className = "notice bad";
  notice.setAttribute("role", "alert");
  notice.textContent = text;
  const link = document.createElement("a");
  link.href = href;
  link.textContent = label;
  notice.append(link);
  notices.append(notice);
}

// --- the stream -----------------------------------------------------------------------------------------------------

let source = null;
let gone = false;
let place = body.dataset.cursor ?? "";

function listen() {
  source?.close();
  source = new EventSource(`/events?after=${encodeURIComponent(place)}`);
  source.addEventListener("hello", () => {
    if (state !== null) state.textContent = "live";
  });
  source.addEventListener("hold", (event) => {
    place = event.lastEventId || place;
    const { hold } = JSON.parse(event.data);
    if (page === "card" || page === "confirm") {
      if (hold === body.dataset.hold) return refreshNow();
      return page === "card" ? refreshSoon() : undefined;
    }
    if (page === "queue" || page === "empty") refreshSoon();
  });
  source.addEventListener("reset", (event) => {
    place = event.lastEventId || place;
    refreshSoon();
  });
  source.addEventListener("bye", signedOut);
  source.addEventListener("error", () => {
    if (document.hidden) return;
    if (state !== null) state.textContent = "not connected; trying again";
    if (source.readyState === EventSource.CLOSED) window.setTimeout(reconnect, 1000);
  });
}

// A browser gives up for good on an answer that is no stream, as when whoever stands before the desk says 502.
async function reconnect() {
  if (gone || document.hidden) return;
  try {
    const answer = await fetch("/help", { headers: { [LIVE]: "1" } });
    if (answer.status === 401) return signedOut();
  } catch {
    // not back yet
  }
  refreshSoon();
  listen();
}

// A browser has six connections for all pages of a site (without TLS, for ever): a page that nobody looks at must not
// keep one, or the seventh that is opened never comes. It goes on where it was as soon as somebody does.
document.addEventListener("visibilitychange", () => {
  if (gone) return;
  source?.close();
  if (document.hidden) return;
  refreshNow();
  listen();
});

function refreshNow() {
  window.clearTimeout(due);
  due = 0;
  refresh();
}

// --- time -----------------------------------------------------------------------------------------------------------

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// How far the desk's clock is ahead of this browser's, as the page told it last: it may be set while a page is open.
let ahead = 0;

function readClock(told) {
  ahead = Date.parse(told ?? "") - Date.now() || 0;
}

function span(seconds) {
  const parts = [];
  let left = Math.max(0, Math.floor(seconds));
  for (const [unit, size] of UNITS) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ") || "no time";
}

// This browser's clock beside one that nobody sets: where they part, it was set, or the machine slept.
let wall = Date.now();
let steady = performance.now();

function clockWasSet() {
  const apart = Date.now() - wall - (performance.now() - steady);
  wall = Date.now();
  steady = performance.now();
  return Math.abs(apart) > 2000;
}

function countDown() {
  if (clockWasSet()) return refreshSoon();
  const now = Date.now() + ahead;
  let over = false;
  for (const each of document.querySelectorAll("time.counts")) {
    const seconds = (Date.parse(each.dateTime) - now) / 1000;
    const text = span(seconds);
    if (each.textContent !== text) each.textContent = text;
    over ||= seconds <= 0 && !each.dataset.over;
    if (seconds <= 0) each.dataset.over = "1";
  }
  if (over) refreshSoon();
}

// --- keys -----------------------------------------------------------------------------------------------------------

const keysSwitch = document.getElementById("keys-switch");
let keys = true;

function readKeys() {
  try {
    keys = localStorage.getItem(KEYS) !== "off";
  } catch {
    keys = true;
  }
}

function showKeys() {
  if (keysSwitch === null) return;
  keysSwitch.hidden = false;
  keysSwitch.textContent = `Keyboard shortcuts: ${keys ? "on" : "off"}`;
  keysSwitch.setAttribute("aria-pressed", String(keys));
}

keysSwitch?.addEventListener("click", () => {
  keys = !keys;
  try {
    localStorage.setItem(KEYS, keys ? "on" : "off");
  } catch {
    // then it holds for this page
  }
  showKeys();
});

function step(by) {
  const links = [...document.querySelectorAll("[data-row-link]")];
  const at = links.indexOf(document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))];
  next?.focus();
}

function press(key) {
  switch (key) {
    case "j":
      return step(1);
    case "k":
      return step(-1);
    case "q":
      return location.assign("/queue");
    case "n": {
      const next = document.querySelector('[data-key="n"]') ?? document.querySelector(".following [data-row-link]");
      return location.assign(next?.href ?? "/");
    }
    case "?":
      return location.assign("/help");
    case "/":
      if (document.getElementById("search") === null) return location.assign("/queue#search");
      return document.getElementById("search").focus();
    default:
      return document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }
}

// Whoever types and is in no field wrote for another page, or before this one was ready. Nothing of that may press a
// button: while it goes on letters are no shortcuts, and what would be focused by itself is not.
const SHORTCUTS = "jkqnrd/?";
const FIELDS = "input, select, textarea";
let typedAt = -Infinity;

function isTyping() {
  return performance.now() - typedAt < QUIET_MS;
}

function noteTyping() {
  typedAt = performance.now();
  if (document.activeElement?.matches("[data-first]")) document.activeElement.blur();
}

document.addEventListener("keydown", (event) => {
  const pressing = event.key === "Enter" || event.key === " ";
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  // A key held down since the page before must press nothing on this one; nor must the end of what somebody typed.
  if (event.repeat && event.key === "Enter") return event.preventDefault();
  if (event.target.closest?.(FIELDS)) return;
  if (pressing && (event.repeat || isTyping())) {
    noteTyping();
    return event.preventDefault();
  }
  if (pressing || !plain || event.key.length !== 1) return;
  if (!keys || isTyping() || !SHORTCUTS.includes(event.key)) return noteTyping();
  if (event.repeat) return;
  event.preventDefault();
  press(event.key);
});

function focusFirst(first) {
  if (document.activeElement !== body) return;
  const wait_ms = typedAt + QUIET_MS - performance.now();
  if (wait_ms > 0) window.setTimeout(focusFirst, wait_ms, first);
  else first.focus({ preventScroll: true });
}

// --- begin ----------------------------------------------------------------------------------------------------------

readClock(body.dataset.now);
readKeys();
showKeys();
window.setInterval(countDown, 1000);
const outcome = document.getElementById("outcome");
const first = document.querySelector("[data-first]");
if (location.hash === "#search") document.getElementById("search")?.focus();
else if (location.hash === "" && document.activeElement === body) {
  if (outcome !== null) outcome.focus();
  else if (first !== null) {
    typedAt = performance.now(); // nobody knows what was typed before this began
    focusFirst(first);
  }
}
if (!document.hidden) listen();

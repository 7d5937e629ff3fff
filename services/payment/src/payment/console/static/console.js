"use strict";
/* What pages can do beyond HTML. Without it everything works but these comforts. */

const rows = () => [...document.querySelectorAll("main a.row")];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  const search = document.getElementById("search");
  if (event.key === "/" && !typing && search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (typing && event.target !== search) return;
    const all = rows();
    const at = all.indexOf(document.activeElement);
    if (!all.length || (at < 0 && event.target !== search && event.target !== document.body)) return;
    event.preventDefault();
    const next = event.key === "ArrowDown" ? at + 1 : at - 1;
    if (next < 0 && search) search.focus();
    else all[Math.max(0, Math.min(next, all.length - 1))].focus();
  }
});

/* A form is sent once, however often its button is pressed. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  if (form.method === "post") form.dataset.sent = "yes";
});
/* A page that the browser shows again, by its back button, may send its forms again. */
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) window.print();
});
for (const button of document.querySelectorAll("[data-print]")) button.hidden = false;
for (const field of document.querySelectorAll("[data-select]")) field.addEventListener("focus", () => field.select());

/* When a part of the page is replaced, what is open stays open, what is focused stays focused, and what is wide stays
   where it was scrolled to. An element is known again by its tag with all attributes, and its place among its likes. */
const tag = (element) => element.cloneNode(false).outerHTML;
const likes = (element) => [...document.getElementsByTagName(element.tagName)].filter((each) => tag(each) === tag(element));
let open = [], focused, scrolled = [];
document.addEventListener("htmx:beforeSwap", () => {
  const active = document.activeElement;
  open = [...document.querySelectorAll("details[open][id]")].map((each) => each.id);
  focused = active.closest("#live, #acts") && { element: active, place: likes(active).indexOf(active) };
  scrolled = [...document.querySelectorAll(".wide")].filter((each) => each.scrollLeft).map((each) => [each, each.scrollLeft]);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [element, left] of scrolled) for (const each of likes(element)) each.scrollLeft = left;
  if (focused && document.activeElement === document.body) {
    const found = likes(focused.element);
    found[Math.min(focused.place, found.length - 1)]?.focus({ preventScroll: true });
  }
});
/* What can be done is replaced only when something else can be: else what is being typed would be gone. */
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  event.detail.shouldSwap = event.detail.target.dataset.of !== event.detail.fragment.firstElementChild.dataset.of;
});

/* Live: the page looks again when something has happened, every LOOK_MS at most. While the stream of events is broken
   it looks that often by itself. All of it only while somebody sees the page: a browser has six connections to a
   service for all its tabs together, and each stream takes one. */
const LOOK_MS = 2000, LISTEN_AGAIN_MS = 10000;
const { stream: address, events = "" } = document.getElementById("content").dataset;
let stream, looked = 0, looking, listening, polling;

const look = () => {
  looking ??= setTimeout(() => {
    looking = undefined;
    const part = document.getElementById("live");
    if (!part || document.hidden) return;
    if (part.classList.contains("htmx-request")) return look(); // its answer may be older than what has happened
    looked = Date.now();
    htmx.trigger(part, "look");
  }, Math.max(50, looked + LOOK_MS - Date.now()));
};
const stopListening = () => {
  stream?.close();
  clearInterval(polling);
  clearTimeout(listening);
  stream = polling = undefined;
};
const listen = () => {
  if (!address || document.hidden) return;
  stopListening();
  stream = new EventSource(address);
  for (const name of events.split(" ")) stream.addEventListener(name, look);
  stream.onopen = () => {
    clearInterval(polling);
    if (polling) look();
    polling = undefined;
  };
  stream.onerror = () => {
    polling ??= setInterval(look, LOOK_MS);
    look();
    if (stream.readyState === EventSource.CLOSED) listening = setTimeout(listen, LISTEN_AGAIN_MS);
  };
};
listen();
window.addEventListener("pagehide", stopListening);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) listen();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return stopListening();
  listen();
  look();
});

/* Say so if the service does not answer. */
const offline = document.getElementById("offline");
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:afterRequest", (event) => {
  offline.hidden = event.detail.successful;
});

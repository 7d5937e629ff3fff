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

/* What is open stays open when a part of the page is replaced. */
let open = [];
document.addEventListener("htmx:beforeSwap", () => {
  open = [...document.querySelectorAll("details[open][id]")].map((each) => each.id);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
});

/* Live parts: say so if the service does not answer. */
const offline = document.getElementById("offline");
document.addEventListener("htmx:afterRequest", (event) => {
  if (offline) offline.hidden = event.detail.successful;
});

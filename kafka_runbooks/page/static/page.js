// Figures that can't be renewed must not pass for new ones.
const stale = (is) => { const note = document.getElementById("stale"); if (note) note.hidden = !is; };
document.addEventListener("htmx:sendError", () => stale(true));
document.addEventListener("htmx:timeout", () => stale(true));
document.addEventListener("htmx:afterOnLoad", (event) => stale(event.detail.xhr.status >= 400));
// A second press while the first is on its way would do no harm, but it makes people wonder.
document.addEventListener("submit", (event) => {
  for (const button of event.target.querySelectorAll("button")) button.disabled = true;
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button")) button.disabled = false;
});

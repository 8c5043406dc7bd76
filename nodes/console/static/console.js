// What every page does besides plain HTML. Without scripts the pages still work.
"use strict";

// A form is sent once: a second click waits for the answer to the first. The server holds to it too.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.dataset.again) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
});

// A page that comes back from the browser's cache may be sent again; the server knows its key.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
  }
});

// Copying a shortened id gives the whole one.
document.addEventListener("copy", (event) => {
  const selection = document.getSelection();
  const element = selection && selection.anchorNode && selection.anchorNode.parentElement;
  const id = element && element.closest("code.id[title]");
  if (id && selection.toString().trim() === id.textContent) {
    event.clipboardData.setData("text/plain", id.title);
    event.preventDefault();
  }
});

// Progressive enhancement only: every page works without it.
"use strict";

// A linkage's page follows its progress, and loads itself again when the linkage has ended.
function follow(target) {
  const source = new EventSource(target.dataset.events);
  source.addEventListener("linkage", (event) => {
    target.innerHTML = event.data;
  });
  source.addEventListener("ended", () => {
    source.close();
    for (const element of document.querySelectorAll("[data-while-running]")) {
      element.remove();
    }
  });
}

// A rejection by nothing of the list needs a reason: say so before the form is sent.
function askForReason(form) {
  const reason = form.elements.namedItem("reason");
  const by = form.elements.namedItem("ruled_out_by");
  const update = () => {
    const rejected = form.elements.namedItem("verdict").value === "rejected";
    by.disabled = !rejected;
    reason.required = rejected && by.value === "other";
  };
  form.addEventListener("change", update);
  update();
}

// One click sends a form once.
function sendOnce(form) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button[type=submit]")) {
      button.setAttribute("aria-disabled", "true");
    }
  });
}

for (const target of document.querySelectorAll("[data-events]")) {
  follow(target);
}
for (const form of document.querySelectorAll("form[data-verdict]")) {
  askForReason(form);
}
for (const form of document.querySelectorAll("form[method=post]")) {
  sendOnce(form);
}

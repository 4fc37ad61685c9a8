/*
 * Shows of the page that begins a training what the chosen method reads: its options with its preset, and the runs that
 * it can start from. What it does not read is disabled, so that it is not sent. Without this script all is shown.
 */
(() => {
  "use strict";
  const form = document.getElementById("train-form");
  if (!form) return;
  const presets = JSON.parse(document.getElementById("train-presets").textContent);
  const base = form.elements.base;

  function show() {
    const method = form.querySelector("[name=method]:checked")?.value ?? "head";
    for (const group of form.querySelectorAll("fieldset[data-methods]")) {
      const isRead = group.dataset.methods.split(" ").includes(method);
      group.hidden = !isRead;
      group.disabled = !isRead;
    }
    for (const place of form.querySelectorAll("[data-preset]")) {
      place.textContent = presets[method][place.dataset.preset] || "–";
    }
    for (const option of base.options) {
      const fits = !option.value || (method !== "head" && [method, "pretrain"].includes(option.dataset.method));
      option.hidden = !fits;
      option.disabled = !fits;
      if (!fits && option.selected) base.value = "";
    }
  }

  form.addEventListener("change", (event) => {
    if (event.target.name === "method") show();
  });
  // Two presses are one training.
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  // A page that the browser brings back may be sent again, and keeps the method that was chosen.
  window.addEventListener("pageshow", () => {
    delete form.dataset.sent;
    show();
  });
  show();
})();

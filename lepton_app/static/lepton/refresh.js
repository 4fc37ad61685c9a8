/*
 * Keeps the page of a training run up to date while the run goes on.
 *
 * `data-refresh-url` is asked every `data-refresh-seconds` for what is to be seen, as JSON: `texts` go into the elements
 * that name them in `data-live`, `share` (0 to 1, or null while nobody knows) into the bar, and `charts` into their
 * place when there are new points. Nothing else on the page moves. When the run has ended, or the answer is no JSON
 * (such as the page to sign in), the page is opened anew. A hidden tab asks for nothing; while the server is away the
 * pauses grow to half a minute.
 */
(() => {
  "use strict";
  const panel = document.querySelector("[data-refresh-seconds]");
  if (!panel) return;
  const seconds = Number(panel.dataset.refreshSeconds) || 1;
  const bar = panel.querySelector("progress");
  const charts = panel.querySelector("[data-live-charts]");
  let points = Number(panel.dataset.points) || 0;
  let pause = seconds;

  function show(told) {
    for (const place of panel.querySelectorAll("[data-live]")) {
      const text = told.texts[place.dataset.live] ?? "";
      if (place.textContent !== text) place.textContent = text;
    }
    if (told.share === null) bar.removeAttribute("value");
    else bar.value = told.share;
    if (told.charts !== null) charts.innerHTML = told.charts;
    points = told.points;
  }

  /* Returns whether there is more to come. */
  async function refresh() {
    const address = `${panel.dataset.refreshUrl}?points=${points}`;
    const answer = await fetch(address, { credentials: "same-origin", cache: "no-store" });
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
    const told = answer.ok && isJson ? await answer.json() : null;
    if (!told?.is_open) {
      location.reload();
      return false;
    }
    show(told);
    return true;
  }

  async function step() {
    let goesOn = true;
    try {
      if (!document.hidden) goesOn = await refresh();
      pause = seconds;
    } catch {
      pause = Math.min(pause * 2, 30);
    }
    if (goesOn) setTimeout(step, pause * 1000);
  }

  document.addEventListener("visibilitychange", () => {
    pause = seconds;
  });
  setTimeout(step, seconds * 1000);
})();

/*
 * Keeps a page of the admin up to date while what it shows goes on.
 *
 * The page is asked for again every `data-refresh-seconds`; of its read-only fields only those that changed are
 * replaced, so that a selection, an open menu and the place on the page stay. When the fresh page no longer carries the
 * mark (or is another page, such as the one to sign in), it is opened as a whole. A hidden tab asks for nothing; while
 * the server is away the pauses grow to half a minute.
 */
(() => {
  "use strict";
  const mark = document.querySelector("[data-refresh-seconds]");
  if (!mark) return;
  const seconds = Number(mark.dataset.refreshSeconds) || 2;
  const fields = (root) => [...root.querySelectorAll("#content-main .readonly")];
  let pause = seconds;

  async function refresh() {
    const answer = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [old, now] = [fields(document), fields(fresh)];
    if (!answer.ok || answer.redirected || !fresh.querySelector("[data-refresh-seconds]") || old.length !== now.length) {
      location.reload();
      return false;
    }
    old.forEach((field, place) => {
      if (field.innerHTML !== now[place].innerHTML) field.replaceWith(document.adoptNode(now[place]));
    });
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

  setTimeout(step, seconds * 1000);
})();

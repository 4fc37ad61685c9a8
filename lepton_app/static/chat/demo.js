/* The demo page's two switches: light or dark, and the buttons that open the chat. */
(() => {
  'use strict';

  const KEY = 'lepton-theme';
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';

  /** Give the page's choice to the widget too, which lives in a shadow root. */
  const tellWidget = () => {
    if (root.dataset.theme) document.querySelector('lepton-chat')?.setAttribute('theme', root.dataset.theme);
  };

  // Before the page is painted, so that it does not flash.
  try {
    const chosen = localStorage.getItem(KEY);
    if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;
  } catch {
    // Storage is blocked: the system's wish decides.
  }

  document.addEventListener('DOMContentLoaded', () => {
    const button = document.querySelector('[data-theme-switch]');
    button.hidden = false;
    button.addEventListener('click', () => {
      root.dataset.theme = isDark() ? 'light' : 'dark';
      tellWidget();
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // It holds until the page is left.
      }
    });
  });

  // The widget loads by itself; without it there is nothing to open.
  const showOpeners = () => {
    tellWidget();
    for (const opener of document.querySelectorAll('[data-chat-open]')) {
      opener.hidden = false;
      opener.addEventListener('click', () => window.LeptonChat.open());
    }
  };
  document.addEventListener('lepton-chat-ready', () => {
    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', showOpeners);
    else showOpeners();
  });
})();

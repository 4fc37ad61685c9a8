/*
 * Lepton's chat widget: one custom element in a shadow root, in one script, without a library.
 *
 *   <script async src="https://desk.example.com/widget.js" data-site="PUBLIC_KEY"></script>
 *
 * Optional: data-language="en|zh-hans" (else the page's language), data-theme="light|dark" (else the system's wish).
 * The script defines <lepton-chat>, appends one to the body and sets window.LeptonChat (at the end).
 *
 * Nothing is lost and nothing comes twice: a message stays in the outbox under an id of its own until the server
 * shows it with a sequence number; after a break the same id is sent again, which the server stores once, and what it
 * said meanwhile is asked for by the last sequence number without a gap.
 *
 * The host page may forbid inline styles and scripts, and carry any style sheet.
 */
(() => {
  'use strict';

  if (!('customElements' in window) || customElements.get('lepton-chat')) return;

  // -- 1  Types

  /**
   * @typedef {Object} Message `MessageBody` of lepton_app/chat/protocol.py
   * @typedef {Object} Attachments `Attachments` there
   * @typedef {{number: number, title: string, section: string, quote: string, url: string}} Citation
   * @typedef {{id: string, text: string, at: string, failed?: string}} Unsent a message of the outbox
   * @typedef {{message: Message|null, unsent: Unsent|null, node: HTMLElement, at: Date}} Item a line of the log
   * @typedef {'idle'|'connecting'|'ready'|'broken'|'refused'} Link
   */

  /** Close codes of the server. */
  const TOKEN_INVALID = 4401;
  const SITE_REFUSED = 4403;
  const NOT_YOURS = 4404;

  const BACK_OFF_MS = 500;
  const BACK_OFF_MAX_MS = 30_000;
  const WELCOME_TIMEOUT_MS = 10_000;
  const ACKNOWLEDGE_TIMEOUT_MS = 12_000;
  const GAP_TIMEOUT_MS = 3_000;
  const TYPING_TIMEOUT_MS = 60_000;
  const NOTICE_DELAY_MS = 900;
  const JOIN_MS = 180_000; // messages of one author within this time stand together
  const COUNTER_FROM = 0.8; // share of the limit from which the counter is shown

  // -- 2  Strings

  /** Named in their own language, so that those find them who cannot read the other. */
  const LANGUAGES = { en: 'English', 'zh-hans': '中文' };

  const ENGLISH = {
    title: 'Chat',
    subtitle: 'We usually answer at once',
    open: 'Open the chat',
    close: 'Close the chat',
    unread: '{count} unread',
    menu: 'More',
    welcome: 'Hello! How can we help you?',
    welcome_detail: 'Answers come from our help pages, and each shows where it stands. You can ask for a person at any time.',
    suggestions: 'Suggested questions',
    log: 'Conversation',
    input: 'Your message',
    placeholder: 'Write your question…',
    send: 'Send',
    characters_left: '{count} characters left',
    characters_over: '{count} characters too many',
    you: 'You',
    assistant: 'Assistant',
    person: 'Colleague',
    system: 'Note',
    typing: 'The assistant is writing…',
    sending: 'Sending…',
    queued: 'Kept until the connection is back',
    not_sent: 'Not sent',
    retry: 'Try again',
    too_long: 'Please write at most {max} characters.',
    connecting: 'Connecting…',
    reconnecting: 'Connecting again…',
    offline: 'No connection. What you write is sent as soon as it is back.',
    unavailable: 'We cannot take messages just now. Yours is kept and sent again.',
    refused: 'The chat is not available on this page.',
    expired: 'The earlier conversation has expired. A new one begins here.',
    waiting: 'Waiting for a person',
    with_person: 'A colleague is answering',
    closed: 'This conversation is closed.',
    talk_to_person: 'Talk to a person',
    start_anew: 'Start a new conversation',
    start_anew_sure: 'Leave this conversation?',
    sources: 'Sources',
    source: 'Source',
    near: 'These articles may help',
    choices: 'Did you mean',
    passage: 'Passage',
    whole_article: 'Read the whole article',
    back: 'Back',
    loading: 'Loading…',
    not_loaded: 'This could not be loaded.',
    new_messages: 'New messages',
  };
  const STATUS = { assistant: 'subtitle', waiting: 'waiting', person: 'with_person', closed: 'closed' };

  /** The language of a tag such as "zh-CN": Chinese of any kind, or English. */
  const languageOf = (tag) => (/^zh\b/i.test(tag || '') ? 'zh-hans' : 'en');

  // -- 3  Elements

  /** Make an element; `onclick` and the like become listeners, other names attributes (false and null: left out). */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const button = (attributes, ...children) => el('button', { type: 'button', ...attributes }, ...children);

  /** Text for screen readers alone. */
  const hidden = (text) => el('span', { class: 'sr' }, text);

  const SVG = 'http://www.w3.org/2000/svg';
  const ICONS = {
    chat: 'M4 6.5A2.5 2.5 0 0 1 6.5 4h11A2.5 2.5 0 0 1 20 6.5v7a2.5 2.5 0 0 1-2.5 2.5H11l-4.4 3.6c-.5.4-1.1 0-1.1-.5V16A2.5 2.5 0 0 1 4 13.5zM8 8.5h8M8 11.8h5',
    close: 'M6 6l12 12M18 6L6 18',
    more: 'M5 12h.01M12 12h.01M19 12h.01',
    send: 'M12 19V5M6 11l6-6 6 6',
    back: 'M14.5 5.5L8 12l6.5 6.5',
    down: 'M6 10l6 6 6-6',
    person: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4.5 20c1-3.5 4-5 7.5-5s6.5 1.5 7.5 5',
    page: 'M6.5 3.5H14l4 4v13H6.5zM14 3.5V8h4M9.5 12h5M9.5 15.5h5',
    again: 'M19 12a7 7 0 1 1-2-5M19 4v4h-4',
    language: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M3.5 12h17M12 3q7 9 0 18M12 3q-7 9 0 18',
  };

  function icon(name) {
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    svg.setAttribute('class', `icon i-${name}`);
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
  }

  /** The value of `work`, or undefined where it throws: storage may be blocked or full, an address no address. */
  const attempt = (work) => {
    try {
      return work();
    } catch {
      return undefined;
    }
  };

  // -- 4  Safe HTML

  /** Elements that are copied. Headings inside a message or passage become bold lines. */
  const ALLOWED = /^(A|B|BLOCKQUOTE|BR|CODE|D[DLT]|DEL|EM|H[1-6R]|I|LI|MARK|OL|P|PRE|S|STRONG|SU[BP]|TABLE|T[DHR]|TBODY|THEAD|UL)$/;
  /** Attributes that are copied, `href` only after a check. */
  const ATTRIBUTES = ['href', 'start', 'colspan', 'rowspan', 'scope'];
  /** Elements that vanish with all they hold; any other one leaves its text behind. */
  const DROPPED = /^(SCRIPT|STYLE|TEMPLATE|NOSCRIPT|IFRAME|OBJECT|EMBED|SVG|MATH|FORM|SELECT|TEXTAREA|TITLE|HEAD|XMP)$/i;

  /** Pages that demand Trusted Types let the parser read what a policy made; nothing parsed is ever attached. */
  const policy = attempt(() => window.trustedTypes?.createPolicy('lepton-chat', { createHTML: (html) => html }));

  /** @returns {string|null} the absolute address, or null where its scheme is not http, https or mailto */
  function safeHref(href, base) {
    const url = attempt(() => new URL(href, base));
    return url && /^(https?|mailto):$/.test(url.protocol) ? url.href : null;
  }

  /** Parse HTML away from the page and copy what is allowed into new elements; links are relative to `base`. */
  function safeHtml(html, base) {
    const fragment = document.createDocumentFragment();
    const parsed = attempt(() => new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, 'text/html'));
    if (parsed) copyChildren(parsed.body, fragment, base);
    else fragment.append(html.replace(/<[^>]*>/g, ' '));
    return fragment;
  }

  function copyChildren(from, to, base) {
    for (const child of from.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) to.appendChild(document.createTextNode(child.data));
      if (child.nodeType !== Node.ELEMENT_NODE || DROPPED.test(child.nodeName)) continue;
      if (!ALLOWED.test(child.nodeName)) {
        copyChildren(child, to, base);
        continue;
      }
      const copy = document.createElement(child.nodeName);
      for (const name of ATTRIBUTES) {
        const value = child.getAttribute(name);
        if (value === null) continue;
        if (name !== 'href') copy.setAttribute(name, value);
        else if (safeHref(value, base)) {
          copy.setAttribute('href', safeHref(value, base));
          copy.setAttribute('target', '_blank');
          copy.setAttribute('rel', 'noopener noreferrer');
        }
      }
      copyChildren(child, copy, base);
      to.appendChild(copy);
    }
  }

  // -- 5  Store

  /**
   * What outlives a reload, one JSON object per site: {token, conversation, seen, outbox, draft, language, page}.
   *
   * Read afresh for each change, so that tabs agree. Where storage is blocked, memory holds it until a reload.
   */
  class Store {
    #key;
    #memory = {};

    constructor(site) {
      this.#key = `lepton-chat:${site}`;
    }

    read() {
      const value = attempt(() => JSON.parse(localStorage.getItem(this.#key) || '{}'));
      return value && typeof value === 'object' ? value : this.#memory;
    }

    /** Merge `changes` into what is stored; an undefined value removes its name. */
    write(changes) {
      this.#memory = { ...this.read(), ...changes };
      attempt(() => localStorage.setItem(this.#key, JSON.stringify(this.#memory)));
    }

    get outbox() {
      const { outbox } = this.read();
      return Array.isArray(outbox) ? outbox : [];
    }

    /** Add or replace one. @param {Unsent} unsent */
    keep(unsent) {
      const rest = this.outbox;
      const index = rest.findIndex(({ id }) => id === unsent.id);
      if (index < 0) rest.push(unsent);
      else rest[index] = unsent;
      this.write({ outbox: rest });
    }

    drop(id) {
      const { outbox } = this;
      if (outbox.some((unsent) => unsent.id === id)) this.write({ outbox: outbox.filter((unsent) => unsent.id !== id) });
    }

    concerns(event) {
      return event.key === this.#key;
    }
  }

  /** A random UUID; pages without https have no crypto.randomUUID. */
  function uuid() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }

  // -- 6  Connection

  /**
   * A websocket that greets, and comes back by itself: at once when the network or the tab does, else after
   * 0.5, 1, 2 … 30 s, shortened at random by up to a half so that customers do not return all at once.
   */
  class Connection {
    /** @type {Link} */
    state = 'idle';
    #url;
    #hello;
    #onFrame;
    #onState;
    #socket = null;
    #attempt = 0;
    #timer = 0;

    constructor(url, handlers) {
      this.#url = url;
      this.#hello = handlers.hello;
      this.#onFrame = handlers.frame;
      this.#onState = handlers.state;
    }

    start() {
      if (this.state === 'idle') this.#connect();
    }

    stop() {
      this.#hangUp();
      this.#change('idle');
    }

    /** Hang up and connect at once. */
    restart() {
      if (this.state === 'idle' || this.state === 'refused') return;
      this.#connect();
    }

    /** Try at once where the back-off waits. */
    hurry() {
      if (this.state === 'broken') this.#connect();
    }

    /** The network has gone: do not wait for the socket to notice. */
    lose() {
      if (this.state === 'ready' || this.state === 'connecting') this.#broken(0);
    }

    /** @returns {boolean} whether the frame went out */
    send(frame) {
      if (this.state !== 'ready' || this.#socket?.readyState !== WebSocket.OPEN) return false;
      this.#socket.send(JSON.stringify(frame));
      return true;
    }

    #connect() {
      this.#hangUp();
      this.#change('connecting');
      const socket = attempt(() => new WebSocket(this.#url));
      if (!socket) return void this.#broken(0);
      this.#socket = socket;
      this.#timer = setTimeout(() => this.#broken(0), WELCOME_TIMEOUT_MS);
      socket.onopen = () => socket.send(JSON.stringify(this.#hello()));
      socket.onclose = (event) => this.#broken(event.code);
      socket.onmessage = (event) => {
        const frame = attempt(() => JSON.parse(event.data));
        if (!frame) return;
        if (frame.type === 'welcome') {
          clearTimeout(this.#timer);
          this.#attempt = 0;
          this.#change('ready');
        }
        this.#onFrame(frame);
      };
    }

    #hangUp() {
      clearTimeout(this.#timer);
      const socket = this.#socket;
      this.#socket = null;
      if (!socket) return;
      socket.onopen = socket.onclose = socket.onmessage = null;
      socket.close();
    }

    #broken(code) {
      this.#hangUp();
      if (code === SITE_REFUSED) {
        this.#change('refused', code);
        return;
      }
      const delay = Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** this.#attempt) * (0.5 + Math.random() / 2);
      this.#attempt += 1;
      this.#timer = setTimeout(() => this.#connect(), delay);
      this.#change('broken', code);
    }

    #change(state, code = 0) {
      if (state === this.state) return;
      this.state = state;
      this.#onState(state, code);
    }
  }

  // -- 7  Look

  /** The widget's copy of static/lepton/tokens.css: [light, dark]. */
  const TOKENS = {
    surface: ['#ffffff', '#151e1c'],
    sunken: ['#eff2ef', '#1d2826'],
    border: ['#dbe1dd', '#2c3a37'],
    'border-strong': ['#7f8d88', '#6f817c'],
    text: ['#17211f', '#e8eeec'],
    muted: ['#55635e', '#a3b3ae'],
    link: ['#22665c', '#8fcabd'],
    accent: ['#28675e', '#7fbcaf'],
    'accent-hover': ['#22534d', '#aed6cd'],
    'accent-soft': ['#eef6f4', '#1d2f2b'],
    'on-accent': ['#ffffff', '#0b201e'],
    bubble: ['#28675e', '#28594f'],
    'on-bubble': ['#ffffff', '#f2faf8'],
    warn: ['#7a5000', '#f0c36a'],
    'warn-soft': ['#fdf4e0', '#33290f'],
    danger: ['#b3261e', '#ff9c92'],
    'danger-soft': ['#fdf0ee', '#3a1c19'],
    mark: ['#ffe9a3', '#5e4a0c'],
    'on-mark': ['#17211f', '#fff3cf'],
    focus: ['#0b57d0', '#8ab4ff'],
  };

  const declare = (scheme) =>
    Object.entries(TOKENS).map(([name, pair]) => `--${name}:${pair[scheme]};`).join('') +
    `color-scheme:${scheme ? 'dark' : 'light'};`;

  const CSS = `
:host { all: initial !important; display: block !important; }
:host([hidden]) { display: none !important; }
.root { ${declare(0)} }
@media (prefers-color-scheme: dark) { :host(:not([theme=light])) .root { ${declare(1)} } }
:host([theme=dark]) .root { ${declare(1)} }

*, ::before, ::after { box-sizing: border-box; margin: 0; padding: 0; }
[hidden] { display: none !important; }
.root {
  --edge: 20px;
  font: 400 15px/1.5 ui-sans-serif, system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans SC", "Noto Sans CJK SC", sans-serif; color: var(--text); text-align: start; letter-spacing: normal;
  -webkit-text-size-adjust: 100%;
}
.root:lang(zh) { line-height: 1.65; }
button, textarea { font: inherit; color: inherit; letter-spacing: inherit; }
button { background: none; border: 0; cursor: pointer; text-align: start; }
button:disabled { cursor: default; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
a[href] { color: var(--link); text-underline-offset: 2px; }
.icon { width: 20px; height: 20px; flex: none; fill: none; stroke: currentColor; stroke-width: 1.75;
  stroke-linecap: round; stroke-linejoin: round; }
.i-more { stroke-width: 3; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

/* Launcher */
.launcher { position: fixed; z-index: 2147483000; inset-block-end: max(var(--edge), env(safe-area-inset-bottom));
  inset-inline-end: max(var(--edge), env(safe-area-inset-right)); width: 60px; height: 60px; border-radius: 50%;
  display: grid; place-items: center; background: var(--accent); color: var(--on-accent);
  box-shadow: 0 2px 6px rgb(11 32 30 / 18%), 0 10px 28px rgb(11 32 30 / 24%);
  transition: background .14s, transform .14s; }
.launcher:hover { background: var(--accent-hover); transform: translateY(-1px); }
.launcher .icon { width: 28px; height: 28px; stroke-width: 1.5; }
.badge { position: absolute; inset-block-start: -4px; inset-inline-end: -4px; min-width: 22px; height: 22px;
  padding: 0 6px; border-radius: 11px; background: #b3261e; color: #fff; font-size: 12px; line-height: 22px;
  font-weight: 650; text-align: center; }

/* Panel */
.panel { position: fixed; z-index: 2147483000; inset-block-end: var(--edge); inset-inline-end: var(--edge);
  width: 400px; height: min(640px, calc(100vh - 2 * var(--edge))); height: min(640px, calc(100dvh - 2 * var(--edge)));
  display: flex; flex-direction: column; overflow: hidden; background: var(--surface);
  border: 1px solid var(--border); border-radius: 20px;
  box-shadow: 0 4px 12px rgb(11 32 30 / 10%), 0 24px 60px rgb(11 32 30 / 18%);
  animation: rise .22s cubic-bezier(.2, 0, 0, 1); }
@keyframes rise { from { opacity: 0; transform: translateY(12px); } }
.head { display: flex; align-items: center; gap: 10px; padding: 12px 10px 12px 16px;
  border-block-end: 1px solid var(--border); }
.emblem { flex: none; display: grid; place-items: center; width: 38px; height: 38px; border-radius: 12px;
  background: var(--accent-soft); color: var(--accent); }
.who { flex: 1; min-width: 0; }
.who h2 { font-size: 15px; font-weight: 650; line-height: 1.35; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.who p { font-size: 13px; line-height: 1.4; color: var(--muted); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.who .live::before { content: ""; display: inline-block; width: 8px; height: 8px; margin-inline-end: 6px;
  border-radius: 50%; background: var(--accent); }
.who .waiting::before { background: var(--warn); }
.tool { flex: none; display: grid; place-items: center; width: 40px; height: 40px; border-radius: 10px; color: var(--muted); }
.tool:hover, .tool[aria-expanded=true] { background: var(--sunken); color: var(--text); }
.menu { position: absolute; z-index: 3; inset-block-start: 58px; inset-inline-end: 10px; width: max-content;
  max-width: calc(100% - 20px); padding: 6px; background: var(--surface); border: 1px solid var(--border);
  border-radius: 14px; box-shadow: 0 2px 6px rgb(11 32 30 / 7%), 0 10px 28px rgb(11 32 30 / 16%); }
.menu button { display: flex; align-items: center; gap: 10px; width: 100%; min-height: 44px; padding: 8px 14px 8px 10px;
  border-radius: 8px; }
.menu button:hover:not(:disabled) { background: var(--sunken); }
.menu button:disabled { color: var(--muted); }
.menu .icon { color: var(--muted); }
.menu .sure { color: var(--danger); }
.notice { padding: 8px 16px; font-size: 13px; line-height: 1.45; background: var(--warn-soft); color: var(--warn); }

/* Log */
.log { flex: 1; min-height: 0; padding: 16px; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin;
  overflow-wrap: anywhere; }
.log:focus-visible { outline-offset: -3px; }
.hello { padding-block: 4px 8px; }
.hello h3 { font-size: 20px; font-weight: 650; line-height: 1.35; text-wrap: balance; }
.hello p { margin-block-start: 6px; font-size: 14px; color: var(--muted); }
.label { display: block; margin-block: 18px 8px; font-size: 13px; font-weight: 600; color: var(--muted); }
.chips { display: flex; flex-wrap: wrap; gap: 8px; list-style: none; }
.chip { min-height: 40px; padding: 8px 14px; border: 1px solid var(--border-strong); border-radius: 20px;
  font-size: 14px; line-height: 1.45; color: var(--link); background: var(--surface); transition: background .14s; }
.chip:hover:not(:disabled) { background: var(--accent-soft); border-color: var(--accent); }
.messages { list-style: none; display: flex; flex-direction: column; }
.day { align-self: center; margin-block: 14px 2px; font-size: 12px; color: var(--muted); }
.message { display: flex; flex-direction: column; align-items: flex-start; margin-block-start: 14px; max-width: 92%; }
.message.joined { margin-block-start: 4px; }
.message.customer { align-self: flex-end; align-items: flex-end; max-width: 85%; }
.message.system { align-self: center; align-items: center; max-width: 100%; }
.author { margin-block-end: 4px; font-size: 12px; font-weight: 600; color: var(--muted); }
.message.joined .author, .customer .author, .system .author { position: absolute; width: 1px; height: 1px;
  overflow: hidden; clip-path: inset(50%); }
.bubble { max-width: 100%; padding: 9px 14px; border: 1px solid transparent; border-radius: 16px; background: var(--sunken); }
.assistant .bubble, .person .bubble { border-end-start-radius: 5px; }
.person .bubble { background: var(--accent-soft); border-color: var(--border); }
.customer .bubble { background: var(--bubble); color: var(--on-bubble); border-end-end-radius: 5px; white-space: pre-wrap; }
.customer.failed .bubble { background: var(--danger-soft); color: var(--text); border-color: var(--danger); }
.system .bubble { padding: 4px 12px; background: none; font-size: 13px; color: var(--muted); text-align: center; }
.meta { margin-block-start: 3px; font-size: 12px; color: var(--muted); }
.meta button { min-height: 24px; color: var(--danger); font-weight: 600; }
.meta u { text-underline-offset: 2px; }
.followed .meta:not(.state) { display: none; }

/* HTML of the server */
.rich > * + * { margin-block-start: 8px; }
.rich li + li { margin-block-start: 4px; }
.rich ul, .rich ol { padding-inline-start: 22px; }
.rich ul { list-style: disc; }
.rich :is(h1, h2, h3, h4, h5, h6) { font-size: inherit; font-weight: 650; line-height: 1.4; }
.rich :is(h1, h2, h3, h4, h5, h6):not(:first-child) { margin-block-start: 18px; }
.rich blockquote { padding-inline-start: 12px; border-inline-start: 3px solid var(--border-strong); color: var(--muted); }
.rich code, .rich pre { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .9em; }
.rich pre { overflow-x: auto; padding: 10px 12px; border-radius: 8px; background: var(--sunken); }
.rich table { display: block; max-width: 100%; overflow-x: auto; border-collapse: collapse; font-size: .93em; overflow-wrap: normal; }
.rich th, .rich td { padding: 6px 10px; border-block-end: 1px solid var(--border); text-align: start; vertical-align: top; }
.rich th { font-weight: 600; }
.rich hr { border: 0; border-block-start: 1px solid var(--border); }
.rich mark { padding: 1px 3px; margin-inline: -3px; border-radius: 4px; background: var(--mark); color: var(--on-mark);
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }

/* Citations, sources, choices */
.cite { position: relative; min-width: 19px; height: 19px; margin-inline: 3px 1px; padding: 0 5px; border-radius: 6px;
  background: var(--surface); border: 1px solid var(--border-strong); color: var(--link); font-size: 11.5px;
  font-weight: 650; line-height: 17px; text-align: center; vertical-align: 1px; }
.cite::after { content: ""; position: absolute; inset: -6px -4px; }
.cite:hover { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
.extra { width: 100%; margin-block-start: 6px; }
.extra .label { margin-block: 6px 4px; font-size: 12px; }
.links { list-style: none; }
.links button { display: flex; gap: 8px; width: 100%; min-height: 36px; padding: 6px 8px; margin-inline-start: -8px;
  border-radius: 8px; font-size: 13.5px; line-height: 1.45; color: var(--link); }
.links button:hover { background: var(--accent-soft); text-decoration: underline; text-underline-offset: 2px; }
.links .icon { width: 18px; height: 18px; margin-block-start: 1px; }
.links small { font-size: inherit; color: var(--muted); }
.number { flex: none; min-width: 18px; font-weight: 650; text-align: center; }
.extra .chips { margin-block-start: 2px; }
.ask { display: inline-flex; align-items: center; gap: 8px; min-height: 40px; margin-block-start: 4px; padding: 8px 16px;
  border-radius: 20px; background: var(--accent); color: var(--on-accent); font-size: 14px; font-weight: 600; }
.ask:hover { background: var(--accent-hover); }

/* Typing */
.typing { display: inline-flex; gap: 5px; margin-block-start: 14px; padding: 15px 16px; border-radius: 16px;
  border-end-start-radius: 5px; background: var(--sunken); }
.typing i { width: 7px; height: 7px; border-radius: 50%; background: var(--muted); animation: breathe 1.2s infinite ease-in-out; }
.typing i:nth-of-type(2) { animation-delay: .16s; }
.typing i:nth-of-type(3) { animation-delay: .32s; }
@keyframes breathe { 0%, 60%, 100% { opacity: .35; } 30% { opacity: 1; } }
.jump { position: absolute; z-index: 2; inset-inline-start: 50%; inset-block-end: 86px; display: flex; align-items: center;
  gap: 6px; min-height: 36px; padding: 6px 14px 6px 10px; border-radius: 18px; transform: translateX(-50%);
  background: var(--text); color: var(--surface); font-size: 13px; font-weight: 600; white-space: nowrap;
  box-shadow: 0 2px 10px rgb(11 32 30 / 25%); }
.jump .icon { width: 16px; height: 16px; stroke-width: 2.5; }

/* Composer */
.composer { display: grid; grid-template-columns: 1fr auto; align-items: end; gap: 0 8px; padding: 10px 12px 12px;
  border-block-start: 1px solid var(--border); }
.field { display: flex; border: 1px solid var(--border-strong); border-radius: 14px; background: var(--surface); }
.field:focus-within { border-color: var(--focus); box-shadow: 0 0 0 1px var(--focus); }
textarea { flex: 1; min-width: 0; max-height: 148px; padding: 9px 13px; border: 0; background: none; resize: none;
  font-size: 16px; line-height: 24px; scrollbar-width: thin; }
textarea:focus-visible { outline: none; }
textarea::placeholder { color: var(--muted); opacity: 1; }
.send { display: grid; place-items: center; width: 44px; height: 44px; border-radius: 14px; background: var(--accent);
  color: var(--on-accent); transition: background .14s; }
.send:hover { background: var(--accent-hover); }
.send:disabled { background: var(--sunken); color: var(--muted); }
.counter { grid-column: 1 / -1; padding: 6px 4px 0; font-size: 12px; color: var(--muted); }
.counter.over { color: var(--danger); font-weight: 600; }
.ended { padding: 12px 16px 16px; border-block-start: 1px solid var(--border); text-align: center; font-size: 14px; color: var(--muted); }

/* Passage */
.passage { position: absolute; z-index: 4; inset: 0; display: flex; flex-direction: column; background: var(--surface);
  animation: slide .2s cubic-bezier(.2, 0, 0, 1); }
@keyframes slide { from { opacity: 0; transform: translateX(16px); } }
.passage .head { padding-inline-start: 8px; }
.passage .who h2 { white-space: normal; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
.text { flex: 1; min-height: 0; padding: 18px 20px 28px; overflow-y: auto; overscroll-behavior: contain; overflow-wrap: anywhere;
  scrollbar-width: thin; line-height: 1.65; }
.text:focus-visible { outline-offset: -3px; }
.section { margin-block-end: 10px; font-size: 13px; font-weight: 600; color: var(--muted); }

/* Phone: the whole screen, and no further than the keyboard */
@media (max-width: 479.98px) {
  .panel { inset: var(--top, 0) 0 auto; width: auto; height: 100vh; height: var(--height, 100dvh); border: 0; border-radius: 0; }
  .head { padding-block-start: calc(12px + env(safe-area-inset-top)); padding-inline: max(16px, env(safe-area-inset-left)) max(10px, env(safe-area-inset-right)); }
  .passage .head { padding-inline-start: max(8px, env(safe-area-inset-left)); }
  .menu { inset-block-start: calc(58px + env(safe-area-inset-top)); }
  .composer, .ended { padding-block-end: calc(12px + env(safe-area-inset-bottom)); }
  .tool { width: 44px; height: 44px; }
}
@media (max-width: 359.98px) { .head > .emblem { display: none; } }
@media (max-height: 420px) { .emblem, .hello p { display: none; } .head { padding-block: 4px; } }
@media (prefers-reduced-motion: reduce) { *, ::before, ::after { animation: none !important; transition: none !important; } .typing i { opacity: .7; } }
@media (forced-colors: active) { .bubble, .launcher, .send, .ask, .typing { border: 1px solid; } mark { forced-color-adjust: none; } }
@media print { .root { display: none; } }
`;

  // -- 8  The element

  const own = document.currentScript;
  const HOST = own instanceof HTMLScriptElement && own.src ? new URL(own.src).origin : location.origin;

  class LeptonChat extends HTMLElement {
    static observedAttributes = ['language'];

    /** Where the server is; the origin of this script unless the attribute `host` names another. */
    #base = HOST;
    #site = '';
    /** @type {Store} */ #store;
    /** @type {Connection} */ #connection;
    #language = 'en';
    #config = { name: '', strings: ENGLISH, suggestions: [], maxChars: 4000 };

    #open = false;
    #status = 'assistant';
    #wantsPerson = false;
    #unavailable = false;
    /** Set while a conversation's history is written, which is read aloud by nobody. */
    #quiet = false;
    /** @type {Map<number, Item>} by sequence */ #items = new Map();
    /** @type {Map<string, Item>} by client id, in the order of writing */ #unsent = new Map();
    /** @type {Map<string, number>} client id -> timer of the acknowledgement or of the next try */ #timers = new Map();
    /** @type {Map<string, number>} client id -> tries that failed */ #tries = new Map();
    #days = new Map();
    #unread = 0;
    #contiguous = 0;
    #gapTimer = 0;
    #noticeTimer = 0;
    #typingTimer = 0;
    #localNote = '';
    /** What opened the passage panel. */ #opener = null;
    #fetching = null;
    /** @type {Record<string, any>} the parts of the shadow root */ #parts = {};
    #listeners = new Map();
    #life = null;

    constructor() {
      super();
      const shadow = this.attachShadow({ mode: 'open' });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(CSS);
      shadow.adoptedStyleSheets = [sheet];
    }

    // 8.1  Life

    connectedCallback() {
      if (this.#life) return;
      this.#life = new AbortController();
      const { signal } = this.#life;
      // In the top layer no transform, filter or stacking of the host page reaches it.
      this.setAttribute('popover', 'manual');
      attempt(() => this.showPopover());
      this.#base = this.getAttribute('host') || HOST;
      this.#site = this.getAttribute('site') || '';
      this.#store = new Store(this.#site);
      this.#connection = new Connection(
        `${this.#base.replace(/^http/, 'ws')}/ws/chat/${encodeURIComponent(this.#site)}/`,
        { hello: () => this.#hello(), frame: (frame) => this.#receive(frame), state: (state, code) => this.#linkChanged(state, code) },
      );
      const { language, page } = this.#store.read();
      this.#language = page === this.#pageLanguage ? language : this.#pageLanguage;
      for (const unsent of this.#store.outbox) this.#addUnsent(unsent);
      this.#open = attempt(() => sessionStorage.getItem(this.#openKey)) === '1' && !this.#narrow;
      this.#render();
      this.#loadConfig();
      // A customer who has written before is told of answers; anybody else costs no socket until the chat is opened.
      if (this.#open || this.#store.read().conversation || this.#unsent.size) this.#connection.start();

      addEventListener('online', () => this.#connection.hurry(), { signal });
      addEventListener('offline', () => this.#connection.lose(), { signal });
      addEventListener('storage', (event) => this.#otherTab(event), { signal });
      addEventListener('pagehide', () => this.#saveDraft(), { signal });
      document.addEventListener('visibilitychange', () => {
        if (document.hidden) this.#saveDraft();
        else {
          this.#connection.hurry();
          this.#markSeen();
        }
      }, { signal });
      for (const type of ['resize', 'scroll']) visualViewport?.addEventListener(type, () => this.#fitKeyboard(), { signal });
    }

    disconnectedCallback() {
      this.#life?.abort();
      this.#life = null;
      this.#connection.stop();
      for (const timer of [this.#gapTimer, this.#noticeTimer, this.#typingTimer, ...this.#timers.values()]) clearTimeout(timer);
    }

    attributeChangedCallback(_name, before, now) {
      if (this.#life && before !== now) this.setLanguage(now);
    }

    /** What the page speaks; a choice made in the widget holds as long as that stays the same. */
    get #pageLanguage() {
      return languageOf(this.getAttribute('language') || document.documentElement.lang || navigator.language);
    }

    // 8.2  What the SDK calls

    open() {
      if (this.#open) return;
      this.#setOpen(true);
      this.#connection.start();
      // A phone's keyboard would cover half of the greeting.
      if (matchMedia('(pointer: coarse)').matches) this.#parts.panel.focus();
      else this.#parts.input.focus();
    }

    close() {
      if (!this.#open) return;
      this.#closePassage();
      this.#setOpen(false);
      this.#parts.launcher.focus();
    }

    toggle() {
      if (this.#open) this.close();
      else this.open();
    }

    setLanguage(language) {
      const next = languageOf(language);
      if (next === this.#language) return;
      this.#language = next;
      this.#store.write({ language: next, page: this.#pageLanguage });
      this.#loadConfig();
      this.#connection.restart();
      this.#emit('language', next);
    }

    /** Forget the conversation on this device and begin a new one. */
    reset() {
      this.#forget({ token: undefined, outbox: undefined, draft: undefined });
      this.#unsent.clear();
      this.#parts.input.value = '';
      this.#localNote = '';
      this.#render();
      this.#connection.stop();
      if (this.#open) {
        this.#connection.start();
        this.#parts.input.focus();
      }
      this.#emit('reset');
    }

    /**
     * Listen: open, close, ready, message (Message), status (string), unread (number), language (string), reset,
     * error ({code, detail}). Returns a function that stops listening.
     */
    on(event, listener) {
      if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
      this.#listeners.get(event).add(listener);
      return () => this.#listeners.get(event).delete(listener);
    }

    #emit(event, detail) {
      for (const listener of this.#listeners.get(event) || []) {
        try {
          listener(detail);
        } catch (error) {
          console.error(error);
        }
      }
    }

    // 8.3  Strings

    #t(key, values = {}) {
      const text = this.#config.strings[key] ?? ENGLISH[key] ?? '';
      return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
    }

    async #loadConfig() {
      const language = this.#language;
      try {
        const path = `/chat/config/${encodeURIComponent(this.#site)}.json?language=${language}`;
        const response = await fetch(this.#base + path, { credentials: 'omit', signal: this.#life?.signal });
        if (!response.ok) throw new Error(`${response.status}`);
        const { name, strings, suggestions, max_chars: maxChars } = await response.json();
        if (language !== this.#language) return;
        this.#config = {
          name: String(name || ''),
          strings: { ...ENGLISH, ...strings },
          suggestions: Array.isArray(suggestions) ? suggestions.map(String) : [],
          maxChars: Number(maxChars) || 4000,
        };
      } catch {
        if (!this.#life || language !== this.#language) return;
        this.#config = { ...this.#config, strings: ENGLISH, suggestions: [] };
      }
      this.#render();
    }

    // 8.4  Frames in and out

    #hello() {
      const { token, conversation } = this.#store.read();
      return { type: 'hello', token, conversation, after: this.#contiguous || undefined, language: this.#language };
    }

    #receive(frame) {
      if (frame.type === 'welcome') this.#welcomed(frame);
      else if (frame.type === 'message') this.#accept([frame.message]);
      else if (frame.type === 'typing') this.#showTyping(frame.on);
      else if (frame.type === 'status') this.#setStatus(frame.status);
      else if (frame.type === 'error') this.#refused(frame);
    }

    #welcomed(frame) {
      const { conversation } = this.#store.read();
      if (conversation && conversation !== frame.conversation) this.#forget();
      this.#store.write({ token: frame.token, conversation: frame.conversation });
      this.#quiet = !this.#items.size;
      this.#accept(frame.messages);
      this.#quiet = false;
      this.#setStatus(frame.status);
      this.#showTyping(false);
      this.#emit('ready');
      for (const { unsent } of this.#unsent.values()) if (!unsent.failed) this.#transmit(unsent);
      if (this.#wantsPerson) this.#askForPerson();
    }

    #accept(messages) {
      const fresh = [];
      for (const message of messages) {
        if (message.client_id) this.#settle(message.client_id);
        if (this.#items.has(message.sequence)) continue;
        this.#items.set(message.sequence, this.#messageItem(message));
        fresh.push(message);
      }
      while (this.#items.has(this.#contiguous + 1)) this.#contiguous += 1;
      this.#watchForGap();
      if (fresh.length === 0) return;
      if (fresh.some(({ author }) => author !== 'customer')) this.#showTyping(false);
      this.#arrange(fresh.at(-1));
      this.#markSeen();
      if (!this.#quiet) for (const message of fresh) this.#emit('message', message);
    }

    /** A message has overtaken another: ask for what is missing, unless it comes by itself. */
    #watchForGap() {
      clearTimeout(this.#gapTimer);
      if (Math.max(0, ...this.#items.keys()) > this.#contiguous) {
        this.#gapTimer = setTimeout(() => this.#connection.restart(), GAP_TIMEOUT_MS);
      }
    }

    /** The server holds the message: it leaves the outbox. */
    #settle(id) {
      clearTimeout(this.#timers.get(id));
      this.#timers.delete(id);
      this.#tries.delete(id);
      this.#store.drop(id);
      this.#unsent.get(id)?.node.remove();
      this.#unsent.delete(id);
      this.#setUnavailable(false);
    }

    #refused(frame) {
      this.#emit('error', { code: frame.code, detail: frame.detail });
      if (frame.code === 'not_greeted') this.#connection.restart();
      if (frame.code === 'unavailable') this.#setUnavailable(true);
      const unsent = frame.client_id && this.#unsent.get(frame.client_id)?.unsent;
      if (!unsent) return;
      this.#showTyping(false);
      clearTimeout(this.#timers.get(unsent.id));
      const tries = (this.#tries.get(unsent.id) || 0) + 1;
      this.#tries.set(unsent.id, tries);
      if (frame.code === 'unavailable' && tries <= 8) {
        this.#timers.set(unsent.id, setTimeout(() => this.#transmit(unsent), Math.min(BACK_OFF_MAX_MS, 1000 * 2 ** tries)));
        return;
      }
      if (frame.code === 'closed') this.#setStatus('closed');
      this.#changeUnsent({ ...unsent, failed: frame.code });
    }

    #transmit(unsent) {
      clearTimeout(this.#timers.get(unsent.id));
      if (!this.#connection.send({ type: 'send', client_id: unsent.id, text: unsent.text })) {
        this.#connection.start();
        return;
      }
      this.#timers.set(unsent.id, setTimeout(() => this.#connection.restart(), ACKNOWLEDGE_TIMEOUT_MS));
    }

    /** Send what a customer wrote or chose. */
    #submit(text) {
      const trimmed = text.trim();
      if (!trimmed || [...trimmed].length > this.#config.maxChars || this.#status === 'closed') return false;
      const unsent = { id: uuid(), text: trimmed, at: new Date().toISOString() };
      this.#store.keep(unsent);
      this.#addUnsent(unsent);
      this.#arrange(null);
      this.#transmit(unsent);
      return true;
    }

    #retry(id) {
      const { failed: _, ...unsent } = this.#unsent.get(id).unsent;
      this.#tries.delete(id);
      this.#changeUnsent(unsent);
      this.#transmit(unsent);
    }

    #askForPerson() {
      if (this.#status === 'waiting' || this.#status === 'person') this.#wantsPerson = false;
      else this.#wantsPerson = !this.#connection.send({ type: 'handover' });
      if (this.#wantsPerson) this.#connection.start();
    }

    #linkChanged(state, code) {
      if (code === TOKEN_INVALID || code === NOT_YOURS) {
        const talked = this.#items.size > 0;
        this.#forget({ token: undefined });
        if (talked) this.#localNote = 'expired';
        this.#render();
      }
      if (state === 'broken' || state === 'connecting') this.#noticeTimer ||= setTimeout(() => this.#showNotice(), NOTICE_DELAY_MS);
      else this.#showNotice();
      if (state !== 'ready') this.#showTyping(false);
      this.#describeUnsent();
      if (state === 'refused') {
        this.#parts.state.textContent = '';
        this.#updateComposer();
      }
    }

    /** Another tab wrote: take over its conversation while this one is empty, and what it has sent. */
    #otherTab(event) {
      if (!this.#store.concerns(event)) return;
      const { conversation } = this.#store.read();
      if (conversation && this.#items.size === 0 && this.#connection.state === 'ready') this.#connection.restart();
      else if (conversation) this.#connection.start();
    }

    /** Drop the conversation from memory and from the store. */
    #forget(more = {}) {
      this.#store.write({ conversation: undefined, seen: undefined, ...more });
      this.#items.clear();
      this.#days.clear();
      this.#contiguous = 0;
      this.#status = 'assistant';
      this.#wantsPerson = false;
      clearTimeout(this.#gapTimer);
      this.#parts.list?.replaceChildren();
    }

    // 8.5  The frame of the view, written anew when the language changes

    #render() {
      const t = (key, values) => this.#t(key, values);
      const draft = this.#parts.input?.value ?? this.#store.read().draft ?? '';
      const focused = this.#partOf(this.shadowRoot.activeElement);
      this.#closePassage();
      const p = (this.#parts = {});

      p.badge = el('span', { class: 'badge', hidden: true });
      p.launcher = button({ class: 'launcher', 'aria-haspopup': 'dialog', onclick: () => this.open() }, icon('chat'), p.badge);

      p.state = el('p', { role: 'status' });
      p.more = button({ class: 'tool', 'aria-label': t('menu'), 'aria-expanded': 'false', 'aria-controls': 'menu', onclick: () => this.#toggleMenu() }, icon('more'));
      p.head = el('header', { class: 'head' },
        el('span', { class: 'emblem' }, icon('chat')),
        el('div', { class: 'who' }, el('h2', { id: 'title' }, this.#config.name || t('title')), p.state),
        p.more,
        button({ class: 'tool', 'aria-label': t('close'), onclick: () => this.close() }, icon('close')));
      p.menu = this.#menu();
      p.notice = el('p', { class: 'notice', role: 'status', hidden: true });

      p.suggestions = this.#suggestions();
      p.list = el('ol', { class: 'messages' });
      p.typing = el('p', { class: 'typing', hidden: true }, hidden(t('typing')), el('i'), el('i'), el('i'));
      p.log = el('div', { class: 'log', role: 'log', 'aria-label': t('log'), tabindex: '0', onscroll: () => this.#scrolled() },
        el('div', { class: 'hello' }, el('h3', {}, t('welcome')), el('p', {}, t('welcome_detail'))),
        p.suggestions, p.list, p.typing);
      p.jump = button({ class: 'jump', hidden: true, onclick: () => this.#scrollToEnd() }, icon('down'), t('new_messages'));

      p.composer = this.#composer(draft);
      p.ended = el('div', { class: 'ended', hidden: true }, el('p', {}, t('closed')),
        button({ class: 'ask', onclick: () => this.reset() }, t('start_anew')));
      p.passage = el('section', { class: 'passage', 'aria-label': t('passage'), hidden: true });

      p.panel = el('section', { class: 'panel', role: 'dialog', 'aria-labelledby': 'title', tabindex: '-1', hidden: !this.#open },
        p.head, p.menu, p.notice, p.log, p.jump, p.composer, p.ended, p.passage);
      p.root = el('div', {
        class: 'root',
        lang: this.#language === 'zh-hans' ? 'zh-Hans' : 'en',
        onkeydown: (event) => this.#key(event),
        // The host page's shortcuts are none of a customer's business who writes a message.
        onkeyup: (event) => event.stopPropagation(),
        onkeypress: (event) => event.stopPropagation(),
        onclick: (event) => this.#clickedBesideMenu(event),
      }, p.launcher, p.panel);

      for (const item of this.#items.values()) item.node = this.#messageNode(item.message);
      for (const item of this.#unsent.values()) item.node = this.#unsentNode(item.unsent);
      this.#days.clear();
      this.shadowRoot.replaceChildren(p.root);
      p.launcher.hidden = this.#open;
      this.#quiet = true;
      this.#arrange(null);
      this.#quiet = false;
      this.#setStatus(this.#status);
      this.#showNotice();
      this.#showUnread();
      this.#updateComposer();
      this.#fitKeyboard();
      if (focused) p[focused]?.focus();
    }

    #partOf(node) {
      return Object.keys(this.#parts).find((name) => this.#parts[name] === node);
    }

    #menu() {
      const other = this.#language === 'en' ? 'zh-hans' : 'en';
      const anew = button({ onclick: () => {
        if (anew.classList.contains('sure')) {
          this.#toggleMenu(false);
          this.reset();
        } else {
          anew.classList.add('sure');
          anew.lastChild.data = this.#t('start_anew_sure');
        }
      } }, icon('again'), this.#t('start_anew'));
      this.#parts.person = button({ onclick: () => {
        this.#toggleMenu(false);
        this.#askForPerson();
      } }, icon('person'), this.#t('talk_to_person'));
      return el('div', { class: 'menu', id: 'menu', hidden: true }, this.#parts.person,
        button({ lang: other === 'en' ? 'en' : 'zh-Hans', onclick: () => {
          this.#toggleMenu(false);
          this.setLanguage(other);
          this.#parts.more.focus();
        } }, icon('language'), LANGUAGES[other]),
        anew);
    }

    #toggleMenu(show = this.#parts.menu.hidden) {
      const { menu, more } = this.#parts;
      if (show) menu.replaceWith((this.#parts.menu = this.#menu()));
      this.#parts.menu.hidden = !show;
      more.setAttribute('aria-expanded', String(show));
      if (show) {
        this.#setStatus(this.#status);
        this.#parts.menu.querySelector('button:not(:disabled)').focus();
      }
    }

    #clickedBesideMenu(event) {
      const { menu, more } = this.#parts;
      const path = event.composedPath();
      if (!menu.hidden && !path.includes(menu) && !path.includes(more)) this.#toggleMenu(false);
    }

    #suggestions() {
      return el('div', { hidden: true }, el('span', { class: 'label', id: 'often' }, this.#t('suggestions')),
        el('ul', { class: 'chips', 'aria-labelledby': 'often' },
          ...this.#config.suggestions.map((text) => el('li', {}, button({ class: 'chip', onclick: () => this.#choose(text) }, text)))));
    }

    /** Send a suggested question or a choice; focus would be lost with its button. */
    #choose(text) {
      if (this.#submit(text)) this.#parts.log.focus({ preventScroll: true });
    }

    #composer(draft) {
      const p = this.#parts;
      p.input = el('textarea', {
        rows: '1', 'aria-label': this.#t('input'), 'aria-describedby': 'counter', placeholder: this.#t('placeholder'),
        enterkeyhint: 'send', autocomplete: 'off', oninput: () => this.#updateComposer(), onblur: () => this.#saveDraft(),
      });
      p.input.value = draft;
      p.send = el('button', { class: 'send', type: 'submit', 'aria-label': this.#t('send') }, icon('send'));
      p.counter = el('p', { class: 'counter', id: 'counter', role: 'status', hidden: true });
      return el('form', { class: 'composer', onsubmit: (event) => {
        event.preventDefault();
        this.#sendInput();
      } }, el('div', { class: 'field' }, p.input), p.send, p.counter);
    }

    #sendInput() {
      const { input } = this.#parts;
      if (!this.#submit(input.value)) return;
      input.value = '';
      this.#saveDraft();
      this.#updateComposer();
      input.focus();
    }

    #updateComposer() {
      const { input, send, counter } = this.#parts;
      const length = [...input.value.trim()].length;
      const left = this.#config.maxChars - length;
      counter.hidden = length < this.#config.maxChars * COUNTER_FROM;
      counter.classList.toggle('over', left < 0);
      counter.textContent = this.#t(left < 0 ? 'characters_over' : 'characters_left', { count: Math.abs(left) });
      input.setAttribute('aria-invalid', String(left < 0));
      input.disabled = this.#connection.state === 'refused';
      send.disabled = length === 0 || left < 0 || input.disabled;
      this.#keepEnd(() => {
        input.style.height = 'auto';
        if (input.scrollHeight) input.style.height = `${Math.min(input.scrollHeight, 148)}px`;
      });
    }

    #saveDraft() {
      const draft = this.#parts.input.value || undefined;
      if (draft !== this.#store.read().draft) this.#store.write({ draft });
    }

    #key(event) {
      event.stopPropagation();
      // Enter that ends the composition of Chinese is not Enter; Safari reports it afterwards, as key code 229.
      const composing = event.isComposing || event.keyCode === 229;
      if (event.key === 'Enter' && event.target === this.#parts.input && !event.shiftKey && !composing) {
        event.preventDefault();
        this.#sendInput();
      }
      if (event.key !== 'Escape' || composing) return;
      if (!this.#parts.menu.hidden) {
        this.#toggleMenu(false);
        this.#parts.more.focus();
      } else if (!this.#parts.passage.hidden) this.#closePassage();
      else this.close();
    }

    // 8.6  Open and closed

    get #openKey() {
      return `lepton-chat-open:${this.#site}`;
    }

    get #narrow() {
      return matchMedia('(max-width: 479.98px)').matches;
    }

    #setOpen(open) {
      this.#open = open;
      attempt(() => sessionStorage.setItem(this.#openKey, open ? '1' : '0'));
      this.#parts.panel.hidden = !open;
      this.#parts.launcher.hidden = open;
      this.#toggleMenu(false);
      this.#fitKeyboard();
      if (open) {
        this.#updateComposer();
        this.#scrollToEnd();
        this.#markSeen();
      }
      this.#emit(open ? 'open' : 'close');
    }

    /** On a phone the sheet ends where the keyboard begins. */
    #fitKeyboard() {
      const { panel } = this.#parts;
      if (!panel || !visualViewport) return;
      const fit = this.#open && this.#narrow && visualViewport.scale <= 1.01;
      panel.style.setProperty('--height', fit ? `${visualViewport.height}px` : '');
      panel.style.setProperty('--top', fit ? `${visualViewport.offsetTop}px` : '');
    }

    #markSeen() {
      const last = Math.max(0, ...this.#items.keys());
      if (this.#open && !document.hidden && last > (this.#store.read().seen || 0)) this.#store.write({ seen: last });
      this.#showUnread();
    }

    #showUnread() {
      const seen = this.#store.read().seen || 0;
      let count = 0;
      for (const { message } of this.#items.values()) {
        if (message.sequence > seen && (message.author === 'assistant' || message.author === 'person')) count += 1;
      }
      const { badge, launcher } = this.#parts;
      badge.hidden = count === 0;
      badge.textContent = count > 99 ? '99+' : String(count);
      launcher.setAttribute('aria-label', this.#t('open') + (count ? ` (${this.#t('unread', { count })})` : ''));
      if (count !== this.#unread) this.#emit('unread', count);
      this.#unread = count;
    }

    // 8.7  State lines

    #setStatus(status) {
      const changed = status !== this.#status;
      this.#status = status;
      const { state, person, composer, ended, root } = this.#parts;
      state.textContent = this.#t(STATUS[status] ?? 'subtitle');
      state.className = status === 'person' ? 'live' : status === 'waiting' ? 'live waiting' : '';
      person.disabled = status !== 'assistant';
      this.#keepEnd(() => {
        composer.hidden = status === 'closed';
        ended.hidden = status !== 'closed';
      });
      for (const ask of root.querySelectorAll('.message .ask')) ask.hidden = status !== 'assistant';
      if (changed) this.#emit('status', status);
    }

    #setUnavailable(unavailable) {
      if (unavailable === this.#unavailable) return;
      this.#unavailable = unavailable;
      this.#showNotice();
    }

    #showNotice() {
      const { notice } = this.#parts;
      clearTimeout(this.#noticeTimer);
      this.#noticeTimer = 0;
      const { state } = this.#connection;
      let key = '';
      if (state === 'refused') key = 'refused';
      else if (state === 'broken' || state === 'connecting') key = navigator.onLine === false ? 'offline' : 'reconnecting';
      else if (this.#unavailable) key = 'unavailable';
      if (key && key === 'reconnecting' && !this.#store.read().conversation && state === 'connecting') key = 'connecting';
      notice.hidden = !key;
      if (notice.textContent !== this.#t(key)) notice.textContent = this.#t(key);
    }

    #showTyping(on) {
      clearTimeout(this.#typingTimer);
      const { typing } = this.#parts;
      this.#keepEnd(() => (typing.hidden = !on));
      if (on) this.#typingTimer = setTimeout(() => this.#showTyping(false), TYPING_TIMEOUT_MS);
    }

    // 8.8  The log

    #addUnsent(unsent) {
      this.#unsent.set(unsent.id, { message: null, unsent, node: this.#unsentNode(unsent), at: new Date(unsent.at) });
    }

    #changeUnsent(unsent) {
      this.#store.keep(unsent);
      const item = this.#unsent.get(unsent.id);
      const node = this.#unsentNode(unsent);
      item.node.replaceWith(node);
      Object.assign(item, { unsent, node });
      this.#describeUnsent();
    }

    /** Each unsent message says what becomes of it. */
    #describeUnsent() {
      const waits = this.#connection.state === 'broken' || this.#connection.state === 'refused';
      for (const { unsent, node } of this.#unsent.values()) {
        if (!unsent.failed) node.querySelector('.state').textContent = this.#t(waits ? 'queued' : 'sending');
      }
    }

    #unsentNode(unsent) {
      let state = el('span', { class: 'meta state' }, this.#t('sending'));
      if (unsent.failed) {
        const reason = { too_long: 'too_long', closed: 'closed' }[unsent.failed] ?? 'not_sent';
        state = el('span', { class: 'meta state' },
          button({ onclick: () => this.#retry(unsent.id) }, `${this.#t(reason, { max: this.#config.maxChars })} `, el('u', {}, this.#t('retry'))));
      }
      return el('li', { class: unsent.failed ? 'message customer failed' : 'message customer' },
        el('span', { class: 'author' }, this.#t('you')), el('div', { class: 'bubble' }, unsent.text), state);
    }

    /** @param {Message} message @returns {Item} */
    #messageItem(message) {
      return { message, unsent: null, node: this.#messageNode(message), at: new Date(message.created_at) };
    }

    #messageNode(message) {
      const author = Object.hasOwn({ customer: 1, assistant: 1, person: 1, system: 1 }, message.author) ? message.author : 'system';
      const at = new Date(message.created_at);
      const time = new Intl.DateTimeFormat(this.#locale, { hour: 'numeric', minute: '2-digit' }).format(at);
      return el('li', { class: `message ${author}` },
        el('span', { class: 'author' }, this.#t(author === 'customer' ? 'you' : author)),
        this.#bubble(message, author),
        ...this.#extras(message.attachments || {}),
        author === 'system' ? null : el('time', { class: 'meta', datetime: message.created_at, title: at.toLocaleString(this.#locale) }, time));
    }

    #bubble(message, author) {
      const { sentences, citations } = message.attachments || {};
      if (author === 'customer') return el('div', { class: 'bubble' }, message.text);
      if (!sentences?.length) return el('div', { class: 'bubble rich' }, safeHtml(message.html || '', this.#base));
      const text = el('p');
      let before = '';
      for (const sentence of sentences) {
        const citation = citations?.find(({ number }) => number === sentence.citation);
        // Chinese sentences stand without a space between; the word joiner keeps a number with its sentence.
        if (/[^。！？]$/.test(before)) text.append(' ');
        before = sentence.text;
        text.append(sentence.text, ...(citation ? ['\u2060', this.#number(citation)] : []));
      }
      return el('div', { class: 'bubble rich' }, text);
    }

    #number(citation) {
      const label = `${this.#t('source')} ${citation.number}: ${citation.title}`;
      const cite = button({ class: 'cite', 'aria-label': label, title: citation.title, onclick: () => this.#openPassage(citation, cite) }, String(citation.number));
      return cite;
    }

    /** What stands below a message. @param {Attachments} attachments */
    #extras({ citations, choices, near, offer_person: offerPerson }) {
      const extras = [];
      const group = (key, list) => extras.push(el('div', { class: key === 'choices' ? 'extra once' : 'extra' }, el('span', { class: 'label' }, this.#t(key)), list));
      if (citations?.length) {
        group('sources', el('ul', { class: 'links' }, ...citations.map((citation) => {
          const link = button({ onclick: () => this.#openPassage(citation, link) }, el('span', { class: 'number' }, String(citation.number)),
            el('span', {}, citation.title, citation.section && citation.section !== citation.title ? el('small', {}, ` · ${citation.section}`) : null));
          return el('li', {}, link);
        })));
      }
      if (choices?.length) {
        group('choices', el('ul', { class: 'chips' }, ...choices.map(({ label, text }) => {
          return el('li', {}, button({ class: 'chip', onclick: () => this.#choose(text) }, label));
        })));
      }
      if (near?.length) {
        group('near', el('ul', { class: 'links' }, ...near.map((article) => {
          const link = button({ onclick: () => this.#openPassage(article, link) }, icon('page'), article.title);
          return el('li', {}, link);
        })));
      }
      if (offerPerson) {
        extras.push(el('div', { class: 'extra once' }, button({ class: 'ask', hidden: this.#status !== 'assistant', onclick: () => {
          this.#askForPerson();
          this.#parts.log.focus({ preventScroll: true });
        } }, icon('person'), this.#t('talk_to_person'))));
      }
      return extras;
    }

    get #locale() {
      if (this.#language === 'zh-hans') return 'zh-Hans';
      return navigator.language?.startsWith('en') ? navigator.language : 'en';
    }

    /** @param {Date} at @returns {HTMLElement} the line that opens a day, the same one each time */
    #day(at) {
      const key = at.toDateString();
      if (!this.#days.has(key)) {
        const ago = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
        const text = ago < 2
          ? new Intl.RelativeTimeFormat(this.#locale, { numeric: 'auto' }).format(-ago, 'day')
          : new Intl.DateTimeFormat(this.#locale, { day: 'numeric', month: 'long', year: ago > 300 ? 'numeric' : undefined }).format(at);
        this.#days.set(key, el('li', { class: 'day' }, text.charAt(0).toUpperCase() + text.slice(1)));
      }
      return this.#days.get(key);
    }

    /**
     * Put the log's lines in order, moving only those that stand elsewhere: stored ones by sequence, then the unsent.
     *
     * @param {Message|null} latest the message that has just come; null where the customer wrote
     */
    #arrange(latest) {
      const { list, log, suggestions, jump } = this.#parts;
      if (!list) return;
      const follow = !latest || latest.author === 'customer' || this.#isNearEnd();
      const items = [...this.#items.values()].sort((a, b) => a.message.sequence - b.message.sequence);
      items.push(...this.#unsent.values());

      log.setAttribute('aria-live', this.#quiet ? 'off' : 'polite');
      const nodes = this.#localNote ? [this.#noteNode()] : [];
      let previous = null;
      for (const item of items) {
        const author = item.message?.author ?? 'customer';
        const newDay = !previous || previous.at.toDateString() !== item.at.toDateString();
        const joined = !newDay && author === previous.author && item.at - previous.at < JOIN_MS;
        if (newDay) nodes.push(this.#day(item.at));
        item.node.classList.toggle('joined', joined);
        item.node.classList.remove('followed');
        if (joined) previous.node.classList.add('followed');
        nodes.push(item.node);
        previous = { author, at: item.at, node: item.node };
      }
      let cursor = list.firstElementChild;
      for (const node of nodes) {
        if (node === cursor) cursor = cursor.nextElementSibling;
        else list.insertBefore(node, cursor);
      }
      while (cursor) {
        const next = cursor.nextElementSibling;
        cursor.remove();
        cursor = next;
      }
      if (this.#quiet) requestAnimationFrame(() => log.setAttribute('aria-live', 'polite'));

      suggestions.hidden = items.length > 0 || this.#config.suggestions.length === 0;
      for (const once of list.querySelectorAll('.once')) once.hidden = once.closest('.message') !== previous?.node;
      if (follow) this.#scrollToEnd(latest && latest.author !== 'customer' ? previous?.node : null);
      else jump.hidden = false;
    }

    #noteNode() {
      return (this.#parts.note ||= el('li', { class: 'message system' }, el('div', { class: 'bubble' }, this.#t(this.#localNote))));
    }

    #isNearEnd() {
      const { log } = this.#parts;
      return !log || log.scrollHeight - log.scrollTop - log.clientHeight < 90;
    }

    /** Change the layout, and stay at the end of the log where that was in view. */
    #keepEnd(change) {
      const near = this.#isNearEnd();
      change();
      if (near) this.#scrollToEnd();
    }

    /** Show the end of the log, or the beginning of `node` where that is longer than the view. */
    #scrollToEnd(node = null) {
      const { log, jump } = this.#parts;
      jump.hidden = true;
      if (node && node.offsetHeight > log.clientHeight - 24) log.scrollTop = node.offsetTop - log.offsetTop - 12;
      else log.scrollTop = log.scrollHeight;
    }

    #scrolled() {
      if (this.#isNearEnd()) this.#parts.jump.hidden = true;
    }

    // 8.9  The passage panel

    /** @param {{title: string, url: string}} source @param {HTMLElement} opener gets the focus back */
    async #openPassage(source, opener) {
      const p = this.#parts;
      this.#opener = opener;
      const heading = el('h2', { id: 'passage-title' }, source.title);
      const text = el('div', { class: 'text rich', tabindex: '0', role: 'document', 'aria-labelledby': 'passage-title' }, el('p', { class: 'section' }, this.#t('loading')));
      const back = button({ class: 'tool', 'aria-label': this.#t('back'), onclick: () => this.#closePassage() }, icon('back'));
      p.passage.replaceChildren(
        el('header', { class: 'head' }, back, el('div', { class: 'who' }, heading, el('p', {}, this.#t('passage'))),
          button({ class: 'tool', 'aria-label': this.#t('close'), onclick: () => this.close() }, icon('close'))),
        text);
      this.#setPassageShown(true);
      back.focus();

      this.#fetching?.abort();
      this.#fetching = new AbortController();
      const { signal } = this.#fetching;
      try {
        const url = new URL(source.url, this.#base);
        if (url.origin !== new URL(this.#base).origin) throw new Error('a passage of another origin');
        const response = await fetch(url, { credentials: 'omit', signal });
        if (!response.ok) throw new Error(`${response.status}`);
        const { title, section, html, url: page } = await response.json();
        if (signal.aborted) return;
        if (title) heading.textContent = title;
        const body = safeHtml(String(html || ''), this.#base);
        if (section && !/^H/.test(body.firstElementChild?.nodeName)) body.prepend(el('p', { class: 'section' }, section));
        const href = page && safeHref(page, this.#base);
        if (href) body.append(el('p', {}, el('a', { href, target: '_blank', rel: 'noopener' }, this.#t('whole_article'))));
        text.replaceChildren(body);
        const mark = text.querySelector('mark');
        if (mark) text.scrollTop = mark.offsetTop - text.offsetTop - text.clientHeight / 3;
      } catch {
        if (!signal.aborted) text.replaceChildren(el('p', { role: 'alert' }, this.#t('not_loaded')));
      }
    }

    #closePassage() {
      if (!this.#parts.passage || this.#parts.passage.hidden) return;
      this.#fetching?.abort();
      this.#setPassageShown(false);
      this.#opener?.focus();
      this.#opener = null;
    }

    /** What lies under the passage is out of reach while it is shown. */
    #setPassageShown(shown) {
      const { passage, head, notice, log, jump, composer, ended } = this.#parts;
      passage.hidden = !shown;
      for (const part of [head, notice, log, jump, composer, ended]) part.inert = shown;
    }
  }

  customElements.define('lepton-chat', LeptonChat);

  // -- 9  Start

  /** The page's one chat: made from the script's own attributes, unless the page holds an element already. */
  function start() {
    let chat = document.querySelector('lepton-chat');
    if (!chat) {
      const { site = '', language, theme } = own?.dataset ?? {};
      chat = el('lepton-chat', { site, language, theme });
      document.body.append(chat);
    }
    window.LeptonChat = Object.freeze({
      open: () => chat.open(),
      close: () => chat.close(),
      toggle: () => chat.toggle(),
      setLanguage: (language) => chat.setLanguage(language),
      reset: () => chat.reset(),
      on: (event, listener) => chat.on(event, listener),
    });
    document.dispatchEvent(new CustomEvent('lepton-chat-ready'));
  }

  if (document.body) start();
  else addEventListener('DOMContentLoaded', start, { once: true });
})();

// The pages work without this script. With it they are live: the server sends the parts that
// changed, forms are sent without leaving the page, and a lost connection is shown.
"use strict";
(() => {
  const known = new Map(); // the HTML of each part as it came, by id
  const body = document.body;
  const spoken = document.getElementById("spoken");
  const status = document.getElementById("live-status");
  const url = body.dataset.live;
  let stream = null, delay = 1000, timer = 0, lost = false;

  const parts = (root) => [...root.querySelectorAll("#main > [id], [data-part]")];
  const remember = () => parts(document).forEach((part) => known.set(part.id, part.outerHTML));

  // Put a new part in the place of an old one. The focus stays, and what is typed, unless it was for
  // something else (`data-keep`). If the state is another one, it is spoken.
  function replace(old, part) {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const isSame = old.dataset.state === part.dataset.state;
    const successor = (element) => {
      const next = element.id && part.querySelector("#" + CSS.escape(element.id));
      return next && next.dataset.keep === element.dataset.keep ? next : null;
    };
    for (const field of old.querySelectorAll("input[id]:not([type=hidden], [type=file]), select[id]")) {
      const next = successor(field);
      if (next) { next.value = field.value; next.checked = field.checked; }
    }
    const said = isSame ? old.querySelector(".said") : null; // the answer to what was typed last
    if (said && !part.querySelector(".said")) part.querySelector(".text").after(said);
    old.replaceWith(part);
    enhance(part);
    if (focused) {
      const isHeadline = focused.tabIndex < 0 && !isSame;
      const next = isHeadline ? null : successor(focused);
      (next || part.querySelector("[data-focus]") || part).focus();
      if (next && next.matches("input.code")) next.setSelectionRange(focused.selectionStart, focused.selectionEnd);
    }
    if (!isSame) say([...part.querySelectorAll("[data-say]")].map((each) => each.textContent.trim()).join(" "));
  }

  function say(text) { if (text && spoken) spoken.textContent = text; }

  // Take over from HTML what differs: single parts, or all of it if it is another page.
  function merge(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = page.getElementById("main"), own = document.getElementById("main");
    if (main && main.dataset.page !== own.dataset.page) {
      if (page.title) document.title = page.title;
      own.replaceWith(main);
      main.tabIndex = -1;
      main.focus();
      enhance(main);
      stop();
      return;
    }
    for (const part of main ? parts(page) : [...page.body.children]) {
      const old = part.id && document.getElementById(part.id);
      if (!old || known.get(part.id) === part.outerHTML) continue;
      known.set(part.id, part.outerHTML);
      replace(old, part);
    }
  }

  function stop() { clearTimeout(timer); if (stream) stream.close(); stream = null; }

  function connect() {
    stop();
    if (!url || document.hidden) return; // a hidden page would keep a connection from a visible one
    stream = new EventSource(url);
    stream.onmessage = (message) => merge(message.data);
    stream.onopen = () => { delay = 1000; if (lost) show(body.dataset.liveBack, false); };
    stream.onerror = () => {
      stop();
      show(body.dataset.liveLost, true);
      timer = setTimeout(connect, delay * (0.7 + 0.6 * Math.random()));
      delay = Math.min(2 * delay, 15000);
    };
  }

  function show(text, isLost) {
    lost = isLost;
    if (!status) return;
    status.hidden = false;
    status.textContent = text || "";
    status.classList.toggle("is-lost", isLost);
    if (!isLost) setTimeout(() => { if (!lost) status.hidden = true; }, 3000);
  }

  // A press is sent once; if it cannot be sent it may be pressed again, and is still one press.
  async function send(form) {
    if (form.dataset.sending) return;
    form.dataset.sending = "1";
    const button = form.querySelector("button");
    button.setAttribute("aria-disabled", "true");
    const problem = form.parentElement.querySelector(".not-sent");
    if (problem) problem.hidden = true;
    try {
      const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      merge(await response.text());
    } catch {
      if (problem) { problem.textContent = body.dataset.notSent; problem.hidden = false; say(problem.textContent); }
    }
    delete form.dataset.sending;
    button.removeAttribute("aria-disabled");
  }

  function enhance(root) {
    for (const time of root.querySelectorAll("time[data-local]")) {
      time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
    }
    for (const each of root.querySelectorAll("[data-seconds]")) each.dataset.until = performance.now() + 1000 * each.dataset.seconds;
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  }

  setInterval(() => {
    for (const each of document.querySelectorAll("[data-until]")) {
      each.textContent = Math.max(0, Math.ceil((each.dataset.until - performance.now()) / 1000));
    }
  }, 500);
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-live-form]")) return;
    event.preventDefault();
    send(event.target);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) navigator.clipboard.writeText(document.querySelector(button.dataset.copy).value);
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : connect()));
  window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  window.addEventListener("online", connect);
  window.addEventListener("offline", () => { if (url) { stop(); show(body.dataset.liveLost, true); } });

  if (url) document.documentElement.classList.add("live");
  remember();
  enhance(document);
  connect();
})();

// The script of the dashboard: live updates, dialogs of acts, keys, signing in by a link. The pages can be read without it.
// Moments that are shown come from the server: the clock of the browser only measures how much time has passed.
"use strict";

(() => {
  const REFRESH_MS = 2_000;
  const STALE_MS = 5_000;
  const JITTER_MS = 300;
  const BACK_OFF_MAX_MS = 15_000;
  const PAGE_PATIENCE_MS = 10_000;
  const ACT_PATIENCE_MS = 15_000;
  // The server sends a comment every 15 s.
  const SILENCE_MAX_MS = 40_000;
  // A pointer that rests on a table for longer no longer keeps its rows in place.
  const HOLD_MS = 30_000;
  const NEW_LINK = "`pointsman dashboard` makes another one";
  // A row that can be chosen.
  const ROW = "[data-row][tabindex]";
  // What a live update replaces.
  const LIVE_IDS = ["banner", "needs-count", "main"];

  const root = document.documentElement;
  const body = document.body;
  const page = location.pathname + location.search;
  const isSignIn = location.pathname === "/sign-in";
  const signInPath = `/sign-in?to=${encodeURIComponent(page)}`;
  const html = window.trustedTypes
    ? trustedTypes.createPolicy("pointsman", { createHTML: (text) => text })
    : { createHTML: (text) => text };

  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const setText = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };
  const element = (name, text, properties = {}) =>
    Object.assign(document.createElement(name), { textContent: text }, properties);
  // A field of a dialog that was just closed still has the focus for a moment.
  const isTyping = (target) =>
    target instanceof Element &&
    target.closest("input, textarea, select, [contenteditable]") !== null &&
    target.closest("dialog:not([open])") === null;
  const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);
  const isOpen = () => document.querySelector("dialog[open]") !== null;
  // The same text twice is announced twice.
  const announce = (text) => byId("announcer")?.replaceChildren(element("span", text));

  // Calls the API; the status is 0 when there is no answer. With a text it acts.
  async function ask(path, patience, acting = null) {
    const headers = { Accept: "application/json, application/problem+json" };
    const { text = null, key = null } = acting ?? {};
    if (text !== null) headers["Content-Type"] = "application/json";
    if (key !== null) headers["Idempotency-Key"] = key;
    const method = text === null ? "GET" : "POST";
    try {
      const response = await fetch(path, { method, headers, body: text, signal: AbortSignal.timeout(patience) });
      return { status: response.status, isGood: response.ok, value: (await response.json().catch(() => null)) ?? {} };
    } catch {
      return { status: 0, isGood: false, value: {} };
    }
  }

  // ---- freshness

  const fresh = {
    goodAt: performance.now(),
    moment: body.dataset.now ?? "",
    why: "",
    isSignedOut: false,
    // When the event stream of this tab was lost.
    withoutEventsSince: null,
    isStale: false,
  };

  // The time of day of a moment of the server.
  const timeOfDay = (moment) =>
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(moment) ? `${moment.slice(11, 19)} Z` : "an unknown moment";

  const momentOf = (response, fetched) => {
    const date = Date.parse(response.headers.get("date") ?? "");
    return fetched?.body.dataset.now ?? (Number.isNaN(date) ? fresh.moment : new Date(date).toISOString());
  };

  // Shows whether the page is live, and disables acts while it is not.
  function judge() {
    const now = performance.now();
    fresh.isStale = fresh.isSignedOut || now - fresh.goodAt > STALE_MS;
    root.classList.toggle("stale", fresh.isStale);
    const line = byId("freshness");
    if (fresh.isSignedOut) {
      const words = `signed out, stale since ${timeOfDay(fresh.moment)}: `;
      if (!line?.querySelector("a")) line?.replaceChildren(words, element("a", "sign in", { href: signInPath }));
    } else if (fresh.isStale) {
      setText(line, `stale since ${timeOfDay(fresh.moment)}${fresh.why ? `: ${fresh.why}` : ""}`);
    } else {
      const isWithoutEvents = fresh.withoutEventsSince !== null && now - fresh.withoutEventsSince > STALE_MS;
      setText(line, isWithoutEvents ? `live, every ${REFRESH_MS / 1_000} s` : "live");
    }
    for (const button of all(fresh.isStale ? ".act:not([aria-disabled])" : ".act[data-waits]")) {
      button.toggleAttribute("data-waits", fresh.isStale);
      if (fresh.isStale) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
  }

  // ---- the page, fetched again

  let etag = null;
  let latest = document;
  let waiting = null;
  let failures = 0;
  let timer = 0;
  let dueAt = Infinity;
  let running = null;

  // Fetches the page, unless a fetch is under way.
  function refresh() {
    running ??= load().finally(() => (running = null));
    return running;
  }

  // Fetches the page in any case: what it shows was asked for after this call.
  async function refreshAnew() {
    await running;
    await refresh();
  }

  // The next fetch is at the latest after so many milliseconds.
  function refreshWithin(ms) {
    const at = performance.now() + ms;
    if (at >= dueAt) return;
    dueAt = at;
    clearTimeout(timer);
    timer = setTimeout(refreshAnew, ms);
  }

  async function load() {
    clearTimeout(timer);
    dueAt = Infinity;
    if (document.hidden || isSignIn) return;
    const begun = performance.now();
    try {
      const headers = { Accept: "text/html", ...(etag && { "If-None-Match": etag }) };
      const response = await fetch(page, { headers, cache: "no-store", signal: AbortSignal.timeout(PAGE_PATIENCE_MS) });
      const isPage = response.ok || response.status === 404;
      fresh.isSignedOut =
        response.status === 401 || (response.redirected && new URL(response.url).pathname === "/sign-in");
      if (fresh.isSignedOut) {
        failures += 1;
      } else if (response.status === 304 || (isPage && response.headers.get("content-type")?.startsWith("text/html"))) {
        let fetched = null;
        if (isPage) {
          fetched = new DOMParser().parseFromString(html.createHTML(await response.text()), "text/html");
          etag = response.headers.get("etag");
        }
        Object.assign(fresh, { goodAt: begun, why: "", moment: momentOf(response, fetched) });
        failures = 0;
        if (fetched) show(fetched);
      } else {
        failures += 1;
        fresh.why = `the proxy answers ${response.status}`;
      }
    } catch (error) {
      failures += 1;
      fresh.why = error.name === "TimeoutError" ? "the proxy does not answer" : "the proxy cannot be reached";
    }
    judge();
    const delay = failures === 0 ? REFRESH_MS : Math.min(500 * 2 ** failures, BACK_OFF_MAX_MS);
    if (!document.hidden) refreshWithin(delay + Math.random() * JITTER_MS * Math.min(failures, 1));
  }

  // ---- the content, changed in place

  let touchedAt = performance.now();
  for (const event of ["pointermove", "pointerdown", "keydown", "wheel"]) {
    addEventListener(event, () => (touchedAt = performance.now()), { passive: true });
  }

  // The table whose rows must stay where they are.
  function held() {
    if (performance.now() - touchedAt > HOLD_MS) return null;
    const tables = all("#main table:has([data-row])");
    const hovered = tables.find((one) => one.matches(":hover"));
    const table = hovered ?? tables.find((one) => one.contains(document.activeElement));
    return table ? { table, byPointer: table === hovered } : null;
  }

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset?.row || null : null);
  // What is selected, asked for once an update: each answer costs a layout.
  let selected = null;
  // Whether the last update left something as it was.
  let isWithheld = false;
  const isBefore = (node, other) =>
    !node.contains(other) && (node.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING) !== 0;

  // Makes `from` like `to`. Elements stay the same objects, so that focus, scrolling and fields are kept.
  function morph(from, to, hold) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.data === to.data) return;
      if (selected?.containsNode(from, true)) isWithheld = true;
      else from.data = to.data;
      return;
    }
    if (from.isEqualNode(to)) return;
    if (hold?.byPointer && isBefore(from, hold.table)) {
      isWithheld = true;
      return;
    }
    if (from === document.activeElement && isTyping(from)) return;
    const keepsOpen = from.localName === "details" && from.id !== "";
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(keepsOpen && name === "open")) from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value && !(keepsOpen && name === "open")) from.setAttribute(name, value);
    }
    if (from.localName !== "textarea") morphChildren(from, to, hold);
  }

  function morphChildren(from, to, hold) {
    const keyed = new Map();
    const loose = [];
    for (const child of from.childNodes) {
      if (keyOf(child) === null || keyed.has(keyOf(child))) loose.push(child);
      else keyed.set(keyOf(child), child);
    }
    const take = (wanted) => {
      const key = keyOf(wanted);
      const at = key === null ? loose.findIndex((node) => node.nodeName === wanted.nodeName) : -1;
      const own = key === null ? loose.splice(at, at < 0 ? 0 : 1)[0] : keyed.get(key);
      if (own?.nodeName !== wanted.nodeName) return null;
      if (key !== null) keyed.delete(key);
      return own;
    };
    const pairs = [...to.childNodes].map((wanted) => [wanted, take(wanted)]);
    for (const [wanted, own] of pairs) if (own) morph(own, wanted, hold);
    // What is around the table under the pointer gets no more and no fewer parts.
    if (hold?.byPointer && from !== hold.table && from.contains(hold.table)) {
      if (loose.length > 0 || keyed.size > 0 || pairs.some(([, own]) => !own)) isWithheld = true;
      return;
    }
    if (hold?.table.contains(from) && from.querySelector(":scope > [data-row]")) {
      for (const [wanted, own] of pairs) if (!own) from.append(document.importNode(wanted, true));
      for (const row of keyed.values()) row.classList.add("gone");
      return;
    }
    for (const node of [...loose, ...keyed.values()]) node.remove();
    let next = from.firstChild;
    for (const [wanted, own] of pairs) {
      if (own !== null && own === next) next = next.nextSibling;
      else if (own !== null && from.moveBefore) from.moveBefore(own, next);
      else from.insertBefore(own ?? document.importNode(wanted, true), next);
    }
  }

  const states = () => new Map(all("#main [data-state]").map((one) => [keyOf(one), one.dataset.state]));

  function announceChanges(before) {
    const changed = all("#main [data-state]").filter(
      (one) => before.has(keyOf(one)) && before.get(keyOf(one)) !== one.dataset.state,
    );
    const words = changed.slice(0, 3).map((one) => {
      const { name = keyOf(one).replace(/^[a-z-]+:/, ""), state, word = state.replaceAll("_", " ") } = one.dataset;
      return `${name}: ${word}`;
    });
    if (changed.length > words.length) words.push(`and ${changed.length - words.length} more`);
    if (words.length > 0) announce(words.join("; "));
  }

  // Shows a fetched page in place of what is there.
  function show(fetched) {
    const identity = ({ viewer, signedIn, version }) => JSON.stringify([viewer, signedIn, version]);
    if (fetched.body.dataset.seq && identity(fetched.body.dataset) !== identity(body.dataset)) {
      // Another person has signed in, or another version serves: its frame and its script differ.
      if (!isOpen()) {
        location.reload();
        return;
      }
      // The next page comes whole, too, until the dialog is closed.
      etag = null;
    }
    const before = states();
    const hold = held();
    isWithheld = false;
    const selection = getSelection()?.isCollapsed === false ? getSelection() : null;
    const focused = document.activeElement;
    const anchor =
      document.querySelector("#main .act:hover") ??
      hold?.table.querySelector(hold.byPointer ? "tr:hover" : "tr:focus-within");
    const top = anchor?.getBoundingClientRect().top;
    for (const id of LIVE_IDS) {
      const [from, to] = [byId(id), fetched.getElementById(id)];
      // What the banner and the head say does not wait.
      selected = id === "main" ? selection : null;
      if (from && to) morph(from, to, id === "main" ? hold : null);
    }
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
    const moved = anchor?.isConnected ? anchor.getBoundingClientRect().top - top : 0;
    if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
    latest = fetched;
    waiting = hold || selection ? fetched : null;
    const { seq, now } = fetched.body.dataset;
    // Acts send it as what their person has seen.
    if (seq && !isWithheld) body.dataset.seq = seq;
    if (now) body.dataset.now = now;
    if (fetched.title) document.title = fetched.title;
    announceChanges(before);
    judge();
  }

  // Shows what waited for the pointer or the focus to leave a table.
  function showWaiting() {
    if (waiting && !held()) show(waiting);
  }

  // ---- records, as they are made: one stream for all tabs

  const channel = window.BroadcastChannel ? new BroadcastChannel("pointsman-records") : null;
  let watch = null;

  function heard(seq) {
    if (document.hidden || seq <= Number(body.dataset.seq)) return;
    refreshWithin(Math.random() * JITTER_MS);
  }
  channel?.addEventListener("message", ({ data }) => heard(Number(data)));

  // Reads one event stream to its end. The stream is read by `fetch`: an `EventSource` hears only events whose names it knows.
  async function readEvents(signal) {
    const silence = new AbortController();
    let alarm = 0;
    const alive = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => silence.abort(), SILENCE_MAX_MS);
    };
    alive();
    try {
      const either = AbortSignal.any([signal, silence.signal]);
      const path = `/v1/events?after=${Number(body.dataset.seq) || 0}`;
      const headers = { Accept: "text/event-stream" };
      const response = await fetch(path, { headers, cache: "no-store", signal: either });
      if (!response.ok) return;
      fresh.withoutEventsSince = null;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        alive();
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        const seqs = lines.filter((line) => line.startsWith("id: ")).map((line) => Number(line.slice(4)));
        if (seqs.length > 0) {
          heard(Math.max(...seqs));
          channel?.postMessage(Math.max(...seqs));
        }
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  async function follow(signal) {
    for (let tries = 0; !signal.aborted; tries += 1) {
      const begun = performance.now();
      await readEvents(signal).catch(() => {});
      if (signal.aborted) return;
      fresh.withoutEventsSince ??= performance.now();
      if (performance.now() - begun > SILENCE_MAX_MS) tries = 0;
      const ms = Math.min(1_000 * 2 ** tries, BACK_OFF_MAX_MS) + Math.random() * JITTER_MS;
      await new Promise((done) => setTimeout(done, ms));
    }
  }

  // A tab that is visible. Where there are locks, one of those that are visible reads the stream for all.
  function start() {
    if (isSignIn || document.hidden || watch) return;
    watch = new AbortController();
    const { signal } = watch;
    const lead = () => follow(signal);
    if (navigator.locks && channel) navigator.locks.request("pointsman-events", { signal }, lead).catch(() => {});
    else lead();
    tickedAt = Date.now();
    judge();
    refresh();
  }

  function stop() {
    watch?.abort();
    watch = null;
    fresh.withoutEventsSince = null;
    clearTimeout(timer);
    dueAt = Infinity;
  }

  let tickedAt = Date.now();
  function tick() {
    // A machine that slept: its timers stood still, perhaps with the clock that measures.
    const slept = Math.abs(Date.now() - tickedAt) > STALE_MS;
    tickedAt = Date.now();
    if (document.hidden || isSignIn) return;
    if (slept) {
      fresh.goodAt = -STALE_MS * 2;
      refresh();
    }
    judge();
    showWaiting();
  }

  // ---- acts

  // One line for a record of the journal.
  function recordLine(record) {
    const { seq, at, who, what, act, reason } = record;
    const names = ["rollout", "release", "variant", "route", "tenant", "shadow", "upstream", "endpoint"];
    const target = names.filter((name) => typeof record[name] === "string").map((name) => record[name]);
    const words = [what, act, ...target].filter((word) => typeof word === "string");
    return `#${seq} ${timeOfDay(String(at))} ${who?.name ?? "?"}: ${words.join(" ")}${reason ? ` (${reason})` : ""}`;
  }

  // What an act has done, in sentences.
  function outcomeOf(value) {
    const { in_force_ms: ms, workers_in_force: reached, workers, resume_problem: problem } = value;
    const seq = value.record?.seq ?? value.seq;
    const isMeasured = typeof ms === "number";
    const said = [
      isMeasured ? `In force after ${Number(ms.toPrecision(3))} ms on ${reached} of ${workers} workers.` : "Done.",
    ];
    if (typeof seq === "number") said.push(`Record ${seq} of the journal.`);
    if (value.repeated) said.push("This call was made before, and was done once.");
    if (value.changed === false) said.push("It was so before.");
    if (typeof value.usable === "number") said.push(`${value.usable} of ${value.total} endpoints are usable.`);
    if (value.durable === false) said.push(`NOT RECORDED on the disk: ${value.not_durable_because ?? "see the log"}.`);
    if (value.still_killed_by) said.push(`The file still kills it: ${value.still_killed_by}.`);
    if (problem) said.push(`Not resumed: ${sentence(problem.detail)} ${sentence(problem.help)}`);
    return said.join(" ");
  }

  // Why an act is not done, and what helps.
  function problemOf(order, status, value) {
    const { title, detail, help, type = "" } = value;
    let problem = [title, detail].filter(Boolean).join(": ") || `The proxy answers ${status}`;
    let remedy = help ?? "";
    // These calls know the `Idempotency-Key`.
    const isOnce = /^\/v1\/(rollouts\/|kill$|revive$)/.test(order.path);
    const again = isOnce
      ? "Press again: the same call is done once at most"
      : "Look at the page first: it may have been done";
    const isStale = status === 409 && type.endsWith(":stale");
    if (status === 0) {
      problem = "The answer is lost: the proxy cannot be reached. It is not known whether the act is done";
      remedy = isOnce ? `${again}. Or look into the journal` : again;
    } else if (status === 401) {
      problem = "You are signed out; nothing was done";
      remedy = "Sign in in another tab, come back, and press again: what you wrote stays here.";
    } else if (isStale) {
      problem = `Nothing was done: others acted since record ${order.expect}, which this page showed`;
      remedy = "Look again, then decide: what you wrote stays here";
    } else if (status === 404) {
      remedy = `${remedy && `${sentence(remedy)} `}The configuration may have changed`;
    } else if (status >= 500 || status === 429) {
      remedy = `${remedy && `${sentence(remedy)} `}${again}`;
    }
    return { problem, remedy, isStale };
  }

  // Random, without `randomUUID`: pages without TLS do not have it.
  function newKey() {
    const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
    return `dashboard-${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  // The dialog of an act: `act-…` and `kill-…` have the same parts.
  class ActDialog {
    constructor(prefix) {
      this.part = (name) => byId(`${prefix}-${name}`);
      this.dialog = this.part("dialog");
      this.order = null;
      if (!this.dialog) return;
      this.dialog.querySelector("form").addEventListener("submit", (event) => {
        event.preventDefault();
        this.send();
      });
      this.part("cancel").addEventListener("click", () => this.dialog.close());
      this.part("again")?.addEventListener("click", () => this.lookAgain());
      this.dialog.addEventListener("close", () => this.closed());
    }

    // `order`: path, body, expects (it takes `expect`), needsReason; target (its name) and raw (the data) of its button, or fill
    // (makes the body).
    open(order, first = this.part("reason")) {
      if (!this.dialog || isOpen()) return;
      const row = document.activeElement?.closest("[data-row]")?.dataset.row;
      this.order = { ...order, expect: Number(body.dataset.seq), key: null, keyFor: null, row, isBusy: false };
      this.part("reason").value = "";
      this.part("reason").setAttribute("aria-required", String(order.needsReason));
      setText(this.part("note"), order.needsReason ? "required: others read it in the journal" : "may be empty");
      setText(this.part("cancel"), "Cancel");
      this.part("do").hidden = false;
      this.part("do").removeAttribute("aria-disabled");
      this.part("again")?.setAttribute("hidden", "");
      this.say(...(fresh.isStale ? [["problem", byId("freshness")?.textContent ?? ""]] : []));
      this.dialog.showModal();
      first.focus();
    }

    // Writes lines, each with its class. Always as text.
    say(...lines) {
      const line = ([name, text]) => element(name === "report" ? "pre" : "p", text, { className: name });
      this.part("outcome").replaceChildren(...lines.map(line));
    }

    // There is nothing more to do here.
    end(...lines) {
      this.say(...lines);
      this.part("do").hidden = true;
      setText(this.part("cancel"), "Close");
      this.part("cancel").focus();
    }

    // The focus returns to where it was; when that is gone, to its row.
    closed() {
      if (document.activeElement && document.activeElement !== body) return;
      const row = all("#main [data-row]").find((one) => one.dataset.row === this.order?.row);
      (row ?? byId("main"))?.focus();
    }

    async send() {
      const { order } = this;
      if (!order || order.isBusy || this.part("do").hidden) return;
      const reason = this.part("reason").value.trim();
      if (order.needsReason && reason === "") {
        this.say(["problem", "Write a reason: others read it in the journal."]);
        this.part("reason").focus();
        return;
      }
      const members = order.fill ? order.fill() : order.body;
      if (members === null) return;
      const seen = order.expects && { expect: order.expect };
      const call = JSON.stringify({ ...members, ...(reason && { reason }), ...seen });
      // The same call again has the same key: when its answer was lost, it is done once all the same.
      if (order.keyFor !== call) Object.assign(order, { key: newKey(), keyFor: call });
      order.isBusy = true;
      this.part("do").setAttribute("aria-disabled", "true");
      this.say(["under-way", "Under way …"]);
      const { status, isGood, value } = await ask(order.path, ACT_PATIENCE_MS, { text: call, key: order.key });
      order.isBusy = false;
      refreshAnew();
      // A failure is seen, also when its dialog was closed meanwhile.
      if (!isGood && this.order === order && !document.querySelector("dialog[open]")) this.dialog.showModal();
      if (this.order !== order || !this.dialog.open) {
        // It was closed meanwhile, and may show another act.
        const target = order.target ?? Object.entries(members).flat().filter((part) => part !== true).join(" ");
        announce(`${target}: ${isGood ? outcomeOf(value) : sentence(problemOf(order, status, value).problem)}`);
        return;
      }
      this.part("do").removeAttribute("aria-disabled");
      const report = typeof value.text === "string" ? [["report", value.text]] : [];
      if (isGood) this.end(["done", outcomeOf(value)], ...report);
      else this.failed(status, value, report);
    }

    failed(status, value, report) {
      const { problem, remedy, isStale } = problemOf(this.order, status, value);
      const changes = (value.records ?? []).map((record) => ["record", recordLine(record)]);
      this.say(["problem", sentence(problem)], ...changes, ["help", remedy && sentence(remedy)], ...report);
      if (status === 401) {
        this.part("outcome").append(element("a", "Sign in", { href: signInPath, target: "_blank", rel: "noopener" }));
      }
      const again = isStale ? this.part("again") : null;
      this.part("do").hidden = again !== null;
      again?.removeAttribute("hidden");
      (again ?? this.part("do")).focus();
    }

    // After others acted: fetches the page, and offers the act again as it is now.
    async lookAgain() {
      const { order } = this;
      await refreshAnew();
      if (this.order !== order || !this.dialog.open) return;
      this.part("again").setAttribute("hidden", "");
      // Path and name are not unique: what is acted on may stand in the target or in the body alone.
      const same = ["path", "act", "target", "body"];
      const button = all(".act", latest).find(({ dataset }) => same.every((name) => dataset[name] === order.raw[name]));
      if (fresh.isStale || !button) {
        const why = fresh.isStale
          ? byId("freshness")?.textContent
          : "This act is no longer offered: the page shows why.";
        this.end(["problem", why ?? ""]);
        return;
      }
      order.expect = Number(latest.body.dataset.seq);
      setText(this.part("effect"), button.dataset.effect);
      this.say(["help", `This is how it stands at record ${order.expect}.`]);
      this.part("do").hidden = false;
      this.part("do").focus();
    }
  }

  const actDialog = new ActDialog("act");
  const killDialog = new ActDialog("kill");

  function openAct(button) {
    const raw = { ...button.dataset };
    const { act, target, path, effect, reason, body: members } = raw;
    if (button.getAttribute("aria-disabled") === "true") {
      announce(fresh.isStale ? "acts wait until the page is live again" : button.title);
      return;
    }
    setText(actDialog.part("title"), `${act} ${target}`);
    setText(actDialog.part("effect"), effect);
    setText(actDialog.part("do"), act);
    actDialog.part("do")?.classList.toggle("grave", button.classList.contains("grave"));
    // The other calls take no `expect`.
    const expects = /^\/v1\/(rollouts\/|revive$)/.test(path);
    actDialog.open({ raw, target, path, expects, body: JSON.parse(members || "{}"), needsReason: reason === "required" });
  }

  // ---- kill

  let names = {};

  async function fetchNames() {
    const lists = await Promise.all([ask("/v1/routes", PAGE_PATIENCE_MS), ask("/v1/rollouts", PAGE_PATIENCE_MS)]);
    const [{ routes = [] }, { rollouts = [] }] = lists.map(({ value }) => value);
    names = {
      route: routes.filter(({ variants }) => variants?.length > 1).map(({ name }) => name),
      variant: routes.flatMap(({ name, variants }) => (variants ?? []).slice(1).map((one) => `${name}:${one.name}`)),
      rollout: rollouts.filter(({ kind }) => kind === "rollout").map(({ name }) => name),
      shadow: routes.filter(({ shadow }) => shadow).map(({ name }) => name),
    };
  }

  function killKind() {
    const kind = killDialog.part("kind").value;
    const field = byId("kill-name-field");
    if (field) field.hidden = kind === "all";
    byId("kill-names")?.replaceChildren(...(names[kind] ?? []).map((name) => element("option", "", { value: name })));
  }

  // The scope of the dialog; null when it is not complete.
  function killScope() {
    const kind = killDialog.part("kind").value;
    const name = killDialog.part("name").value.trim();
    if (kind === "all") return { all: true };
    if (name !== "") return { [kind]: name };
    killDialog.say(["problem", "Write a name."]);
    killDialog.part("name").focus();
    return null;
  }

  function openKill() {
    if (!killDialog.dialog || isOpen()) return;
    const preset =
      document.activeElement?.closest("[data-kill]") ?? document.querySelector("#main [data-kill]:not([tabindex])");
    const [kind, name] = Object.entries(JSON.parse(preset?.dataset.kill || "{}"))[0] ?? ["variant", ""];
    killDialog.part("kind").value = kind;
    killDialog.part("name").value = typeof name === "string" ? name : "";
    killKind();
    // A kill needs no fresh view: it takes callers off, and others may have acted meanwhile.
    const order = { path: "/v1/kill", needsReason: true, expects: false, fill: killScope };
    killDialog.open(order, name === "" ? killDialog.part("kind") : killDialog.part("reason"));
    fetchNames().then(killKind);
  }

  // ---- keys

  const rows = () => all(`#main ${ROW}`).filter((row) => row.getClientRects().length > 0);
  const chosen = () => document.activeElement?.closest(`#main ${ROW}`) ?? null;

  function choose(step) {
    const list = rows();
    const at = list.indexOf(chosen());
    const next = list[at < 0 ? (step > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + step, 0), list.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  // The button of this key: in the chosen row, or on a page without rows that act.
  function buttonOf(key) {
    const own = all("#main .act[data-key]").filter((button) => button.dataset.key === key);
    const row = chosen();
    return own.find((button) => row?.contains(button)) ?? own.find((button) => !button.closest(ROW)) ?? null;
  }

  function press(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isOpen()) return;
    if (isTyping(target)) {
      if (key === "Escape") target.blur();
      return;
    }
    const filter = document.querySelector("#main input[type=search], #filter");
    const row = chosen();
    if (key === "j" || key === "k") choose(key === "j" ? 1 : -1);
    else if (key === "Enter" && row === target && row.dataset.href) location.assign(ownPath(row.dataset.href));
    else if (key === "/" && filter) filter.focus();
    else if (key === "?") byId("help-dialog")?.showModal();
    else if (key === "x" && byId("kill-open")) openKill();
    else if (/^[a-z]$/.test(key) && buttonOf(key)) openAct(buttonOf(key));
    else return;
    event.preventDefault();
  }

  // ---- signing in and out

  // A path of this origin.
  function ownPath(to) {
    const url = URL.canParse(to, location.origin) ? new URL(to, location.origin) : null;
    const isOwn = url?.origin === location.origin && !url.pathname.startsWith("//");
    return isOwn ? location.origin + url.pathname + url.search : "/";
  }

  // Signs in by the link of the fragment, which leaves the address bar at once.
  async function signInByLink() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const link = fragment.get("link");
    if (link === null) return;
    history.replaceState(null, "", page);
    const to = ownPath(fragment.get("to") ?? new URLSearchParams(location.search).get("to") ?? "/");
    const say = (words, name) => byId("sign-in-problem")?.replaceChildren(element("p", words, { className: name }));
    say("Signing in …", "under-way");
    const { status, isGood, value } = await ask("/v1/session", PAGE_PATIENCE_MS, { text: JSON.stringify({ link }) });
    const { detail = status === 0 ? "the proxy cannot be reached" : `the proxy answers ${status}`, help } = value;
    if (isGood) location.replace(to);
    else say(`✕ The link does not sign you in: ${sentence(detail)} ${sentence(help ?? NEW_LINK)}`, "problem");
  }

  // ---- the beginning

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (button?.matches(".act")) openAct(button);
    else if (button?.id === "kill-open") openKill();
    else if (button?.id === "help-open") byId("help-dialog")?.showModal();
  });
  document.addEventListener("keydown", press);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  byId("main")?.addEventListener("pointerout", () => setTimeout(showWaiting));
  byId("main")?.addEventListener("focusout", () => setTimeout(showWaiting));
  killDialog.part("kind")?.addEventListener("change", killKind);
  addEventListener("online", refresh);
  addEventListener("pageshow", start);
  addEventListener("pagehide", stop);
  addEventListener("hashchange", () => isSignIn && signInByLink());
  setInterval(tick, 1_000);
  root.classList.add("live");
  // Rows are kept in place here, not by the browser.
  root.style.overflowAnchor = "none";
  if (isSignIn) signInByLink();
  else start();
})();

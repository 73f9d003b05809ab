// What changes is seen without a reload: `live.mjs FOLDER POINTSMAN CANARY_PORT PROXY_PID`. Reading is open here: no tokens.
// The proxy ends and starts again; FOLDER/proxy.pid has the process that serves at the end.
import { spawn } from "node:child_process";
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { check, equal, freshness, isLive, matches, run, sleep, text, until, visitor } from "./browser.mjs";

const [folder, pointsman, canaryPort, firstPid] = process.argv.slice(2);
const routes = `${folder}/routes.toml`;
const read = () => readFileSync(routes, "utf8");
const edit = (from, to) => writeFileSync(routes, read().replace(from, to));
const mood = (percent) => fetch(`http://127.0.0.1:${canaryPort}/fails/${percent}`).then((answer) => answer.text());
const mark = (page) => page.evaluate(() => (globalThis.mark = "the same page"));
const isSame = (page) => page.evaluate(() => globalThis.mark === "the same page");
const REFUSED = /Failed to load resource: (net::|the server responded with a status of (404|503))/;
const DAY_MS = 86_400_000;
let pid = Number(firstPid);

async function reading() {
  const person = await visitor();
  const page = await person.open("/");
  equal("reading needs no sign-in here", "/", new URL(page.url()).pathname);
  equal("nothing acts without an identity", 0, await page.locator(".act, #kill-open").count());
  await person.leave();
}

async function anEdit() {
  const person = await visitor();
  const page = await person.open("/routes/cart");
  await until("live", () => isLive(page));
  await mark(page);
  matches("the share before", /30\s*%/, await text(page, "#main"));
  check("not the one after", !/37\.5\s*%/.test(await text(page, "#main")));
  const begun = performance.now();
  edit(/(upstream = "v2", weight = )30/, "$137.5");
  await until("the new share is seen", async () => /37\.5\s*%/.test(await text(page, "#main")));
  console.error(`   an edit is seen ${Math.round(performance.now() - begun)} ms after it was saved`);
  check("without a reload", await isSame(page));
  edit(/(upstream = "v2", weight = )37\.5/, "$130");
  await until("and back", async () => !/37\.5\s*%/.test(await text(page, "#main")));
  await person.leave();
}

async function aRollback() {
  const person = await visitor();
  const page = await person.open("/");
  await until("live", () => isLive(page));
  await mark(page);
  const row = "[data-row='rollout:cart:canary']";
  const before = await page.getAttribute(row, "data-state");
  check("it is not rolled back", before !== "rolled_back", before);
  const begun = performance.now();
  await mood(100);
  await until(
    "the rollback is seen",
    async () => (await page.getAttribute(row, "data-state")) === "rolled_back",
    20_000,
  );
  console.error(`   a rollback is seen ${Math.round(performance.now() - begun)} ms after the fault began`);
  matches("a screen reader hears it", /cart:canary: rolled back/, await text(page, "#announcer"));
  matches("the row has a word", /rolled back/i, await text(page, row));
  check("without a reload", await isSame(page));
  matches("it needs a person", /[1-9]/, await text(page, "#needs-count"));
  await mood(0);
  await page.goto(`${process.env.ADMIN}/rollouts/cart:canary`);
  matches("its page has the evidence with counts", /callers? of/, await text(page, "#main"));
  await person.leave();
}

async function aRolloutThatVanishes() {
  const person = await visitor();
  const page = await person.open("/rollouts/next");
  await until("live", () => isLive(page));
  await mark(page);
  const whole = read();
  const name = await text(page, "h1");
  matches("its page", /next/, name);
  writeFileSync(routes, whole.replace(/\[rollout\.next\][\s\S]*$/, "").replace('rollout = "next"', "weight = 0"));
  await until(
    "the page says that it is gone",
    async () => (await text(page, "h1")) !== name && /next/.test(await text(page, "#main")),
  );
  check("without a reload", await isSame(page));
  matches("and is live", /^live/, await freshness(page));
  writeFileSync(routes, whole);
  await until("it comes back", async () => (await text(page, "h1")) === name, 20_000);
  await person.leave(REFUSED);
}

async function ended() {
  for (let at = 0; at < 400; at += 1) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    // A child that has ended, and a process whose parent has not waited for it, still have a number.
    if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) return;
    await sleep(50);
  }
  throw new Error(`process ${pid} does not end`);
}

function start() {
  const log = openSync(`${folder}/pointsman.log`, "a");
  const child = spawn(pointsman, ["run", "routes.toml", "--workers", "1"], {
    cwd: folder,
    stdio: ["ignore", log, log],
    detached: true,
  });
  child.unref();
  pid = child.pid;
  writeFileSync(`${folder}/proxy.pid`, String(pid));
}

// A browser whose clock differs by this much.
async function withClock(ms) {
  const person = await visitor();
  await person.context.addInitScript((shift) => {
    const Real = Date;
    globalThis.Date = class extends Real {
      constructor(...given) {
        if (given.length > 0) super(...given);
        else super(Real.now() + shift);
      }
      static now() {
        return Real.now() + shift;
      }
    };
  }, ms);
  return person;
}

async function aCutStream() {
  const people = await Promise.all([withClock(0), withClock(DAY_MS), withClock(-DAY_MS)]);
  const pages = await Promise.all(people.map((person) => person.open("/")));
  for (const page of pages) {
    await until("live", () => isLive(page));
    await mark(page);
  }
  const times = (page) =>
    page.evaluate(() => [...document.querySelectorAll("#main time")].map((one) => one.dateTime.slice(0, 10)).sort());
  const today = new Date().toISOString().slice(0, 10);
  for (const page of pages)
    check(
      "days are the server's",
      (await times(page)).every((day) => Math.abs(Date.parse(day) - Date.parse(today)) <= DAY_MS),
      await times(page),
    );
  process.kill(pid, "SIGTERM");
  const cut = Date.now();
  await ended();
  for (const page of pages) {
    const line = await until("stale", async () => {
      const found = await freshness(page);
      return /^stale since/.test(found) ? found : "";
    });
    const [, time] = line.match(/^stale since (\d\d:\d\d:\d\d) Z: /) ?? [];
    check("the moment is of the server's clock", time !== undefined, line);
    const off = Math.abs(Date.parse(`1970-01-01T${time}Z`) - (cut % DAY_MS));
    check("it is when the proxy was last heard", Math.min(off, DAY_MS - off) < 15_000, line);
    equal("html.stale", true, await page.evaluate(() => document.documentElement.classList.contains("stale")));
  }
  start();
  for (const page of pages) {
    await until("live again by itself", () => isLive(page), 40_000);
    check("without a reload", await isSame(page));
  }
  await sleep(2_500);
  for (const page of pages) matches("and it stays live", /^live/, await freshness(page));
  for (const person of people) await person.leave(REFUSED);
}

async function aHiddenTab() {
  const person = await visitor();
  const page = await person.open("/");
  await until("live", () => isLive(page));
  let asked = 0;
  page.on("request", () => (asked += 1));
  const hide = (hidden) =>
    page.evaluate((isHidden) => {
      Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await sleep(2_500);
  check("a visible tab asks", asked >= 1, asked);
  await hide(true);
  await sleep(300);
  asked = 0;
  await sleep(5_500);
  equal("a hidden tab asks for nothing", 0, asked);
  await hide(false);
  await until("it looks again at once", () => asked >= 1, 1_000);
  await until("and is live", () => isLive(page));
  await person.leave();
}

async function withoutScript() {
  const person = await visitor({ javaScriptEnabled: false });
  const page = await person.open("/");
  matches("the overview can be read", /cart:canary/, await page.locator("#main").innerText());
  matches("a note says how", /script/i, await page.locator("body").innerText());
  await page.locator("[data-row='rollout:next'] a, a[href='/rollouts/next']").first().click();
  await page.waitForURL("**/rollouts/next");
  await person.leave();
}

await run({ reading, anEdit, aHiddenTab, withoutScript, aRollback, aRolloutThatVanishes, aCutStream });

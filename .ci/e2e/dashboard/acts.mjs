// Acts in two browsers and by several people: `acts.mjs FOLDER POINTSMAN`, with the tokens `olga` (operator), `vera` (viewer),
// `ana` and `dee` (approvers), and the rollout `next` in a stage that both approve.
import { execFileSync } from "node:child_process";
import {
  call,
  check,
  choose,
  equal,
  focused,
  freshness,
  isLive,
  matches,
  openDialog,
  run,
  sleep,
  text,
  toSignIn,
  until,
  visitor,
} from "./browser.mjs";

const [folder, pointsman] = process.argv.slice(2);
const olga = { token: "olga" };
const kills = async () => (await call("/v1/kill", olga)).value.kills.map(({ scope, reason }) => ({ scope, reason }));
const records = async () => (await call("/v1/journal?limit=1000", olga)).value.records;
const rollout = async () => (await call("/v1/rollouts/next", olga)).value;
const outcome = (page, dialog = "act") => text(page, `#${dialog}-outcome`);
const FAILED_LOAD = /Failed to load resource: the server responded with a status of (401|403|404|409)/;

async function killByKeyboard() {
  const person = await visitor();
  const page = await person.signIn("olga");
  await choose(page, "rollout:cart:canary");
  await page.keyboard.press("x");
  equal("the kill dialog", "kill-dialog", await openDialog(page));
  equal("the focus is on the reason", "kill-reason", await focused(page));
  equal(
    "what is chosen",
    ["variant", "cart:canary"],
    [await page.inputValue("#kill-kind"), await page.inputValue("#kill-name")],
  );
  await page.keyboard.press("Enter");
  matches("without a reason nothing is done", /reason/i, await outcome(page, "kill"));
  equal("no kill", [], await kills());
  await page.keyboard.type("INC-7 <b>");
  await page.keyboard.press("Enter");
  await until("the page says when it is in force", async () =>
    /In force after [\d.]+ ms on 1 of 1 workers?\. Record \d+/.test(await outcome(page, "kill")),
  );
  equal("it is killed", [{ scope: { variant: "cart:canary" }, reason: "INC-7 <b>" }], await kills());
  await page.keyboard.press("Escape");
  equal("the dialog is closed", "", await openDialog(page));
  equal("the focus is back on the row", "rollout:cart:canary", await focused(page));
  await until("the row says so without a reload", async () =>
    /killed/i.test(await text(page, "[data-row='rollout:cart:canary']")),
  );
  await page.goto(`${process.env.ADMIN}/kills`);
  const revive = page.locator(".act[data-path='/v1/revive']").first();
  await revive.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("over");
  await page.keyboard.press("Enter");
  await until("it is revived", async () => (await kills()).length === 0);
  await person.leave();
}

async function viewerSeesNoActs() {
  const person = await visitor();
  const page = await person.signIn("vera");
  for (const path of ["/", "/rollouts/next", "/routes", "/upstreams", "/config", "/kills"]) {
    await page.goto(process.env.ADMIN + path);
    equal(`buttons that act on ${path}`, 0, await page.locator(".act, #kill-open").count());
    for (const key of "xahr") await page.keyboard.press(key);
    equal(`dialogs on ${path}`, "", await openDialog(page));
  }
  const refused = await page.evaluate(async () => {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/v1/kill", {
      method: "POST",
      headers,
      body: JSON.stringify({ all: true, reason: "x" }),
    });
    return answer.status;
  });
  equal("the server refuses, too", 403, refused);
  await person.leave(FAILED_LOAD);
}

async function approvalByRole() {
  await until("the stage waits", async () => (await rollout()).awaited?.length > 0, 30_000);
  const person = await visitor();
  const page = await person.signIn("ana", "/rollouts/next");
  equal("signing in leads to where one wanted to go", "/rollouts/next", new URL(page.url()).pathname);
  equal("ana does not operate", 0, await page.locator(".act:not([data-act^=Approve]), #kill-open").count());
  await page.keyboard.press("a");
  equal("the dialog", "act-dialog", await openDialog(page));
  matches("what it will do", /\S/, await text(page, "#act-effect"));
  await page.keyboard.press("Enter");
  await until("it is recorded", async () => /Record \d+/.test(await outcome(page)));
  const record = (await records()).findLast(({ act }) => act === "approve");
  equal("who approved", "ana", record?.who.name);
  await page.keyboard.press("Escape");
  await until("the page shows the approval without a reload", async () => /ana/.test(await text(page, "#main")));
  await until(
    "the act is not offered again",
    async () => (await page.locator(".act[data-act^=Approve]").count()) === 0,
  );
  await person.leave();
}

async function othersActed() {
  const [first, second] = [await visitor(), await visitor()];
  const [left, right] = [await first.signIn("olga", "/rollouts/next"), await second.signIn("olga", "/rollouts/next")];
  for (const page of [left, right]) {
    await page.keyboard.press("h");
    equal("the dialog", "act-dialog", await openDialog(page));
    await page.keyboard.type(page === left ? "from the left" : "from the <i>right</i>");
  }
  await right.keyboard.press("Enter");
  await until("the right one holds", async () => /Record \d+/.test(await outcome(right)));
  await left.keyboard.press("Enter");
  await until("the left dialog says so", async () => /others acted since record \d+/.test(await outcome(left)));
  matches("what has changed", /olga.*hold.*next.*from the <i>right<\/i>/, await outcome(left));
  equal("nothing of it is markup", 0, await left.locator("#act-outcome i").count());
  equal("one hold", 1, (await records()).filter(({ act }) => act === "hold").length);
  equal("what was written stays", "from the left", await left.inputValue("#act-reason"));
  await left.keyboard.press("Enter");
  await until("looking again", async () => /no longer offered|how it stands/.test(await outcome(left)));
  await left.keyboard.press("Escape");
  // A resume, after others acted: it is still offered, and done at the second look.
  const resume = left.locator(".act[data-path$='/resume']").first();
  await resume.click();
  await left.keyboard.type("go on");
  await call("/v1/kill", { ...olga, method: "POST", body: { tenant: "someone", reason: "elsewhere" } });
  await left.keyboard.press("Enter");
  await until("the dialog says so again", async () => /others acted/.test(await outcome(left)));
  await left.keyboard.press("Enter");
  await until("as it stands now", async () => /how it stands at record \d+/.test(await outcome(left)));
  equal("the button is ready", "act-do", await focused(left));
  await left.keyboard.press("Enter");
  await until("resumed", async () => /Record \d+/.test(await outcome(left)));
  await call("/v1/revive", { ...olga, method: "POST", body: { tenant: "someone", reason: "over" } });
  await first.leave(FAILED_LOAD);
  await second.leave(FAILED_LOAD);
}

// Every Revive has the same path and the same name: what it revives stands in its body alone.
async function aSecondLookAtOneOfSeveral() {
  const post = (path, body) => call(path, { ...olga, method: "POST", body });
  const tenants = async () => (await kills()).map(({ scope }) => scope.tenant).sort();
  for (const tenant of ["tenant-a", "tenant-b"]) await post("/v1/kill", { tenant, reason: "the test" });
  const person = await visitor();
  const page = await person.signIn("olga", "/kills");
  const buttons = page.locator(".act[data-path='/v1/revive']");
  const bodies = () => buttons.evaluateAll((all) => all.map(({ dataset }) => JSON.parse(dataset.body).tenant));
  const [first, second] = await bodies();
  await buttons.nth(1).click();
  await page.keyboard.type("the second one");
  await post("/v1/kill", { tenant: "tenant-c", reason: "elsewhere" });
  await page.keyboard.press("Enter");
  await until("others acted", async () => /others acted/.test(await outcome(page)));
  await page.keyboard.press("Enter");
  await until("as it stands now", async () => /how it stands at record \d+/.test(await outcome(page)));
  await page.keyboard.press("Enter");
  await until("revived", async () => /Record \d+/.test(await outcome(page)));
  equal("the second is revived, the first stays", [first, "tenant-c"].sort(), await tenants());
  check("it was the second", second !== first && !(await tenants()).includes(second), [first, second]);
  await page.keyboard.press("Escape");
  await until("the page shows it", async () => !(await bodies()).includes(second));
  // Another person revives the one whose dialog is open: no other Revive takes its place.
  await page.locator(`.act[data-path='/v1/revive'][data-body*='"${first}"']`).click();
  await page.keyboard.type("too late");
  await post("/v1/revive", { tenant: first, reason: "elsewhere" });
  await page.keyboard.press("Enter");
  await until("others acted again", async () => /others acted/.test(await outcome(page)));
  await page.keyboard.press("Enter");
  await until("it is not offered any more", async () => /no longer offered/.test(await outcome(page)));
  check("nothing is offered", await page.locator("#act-do").isHidden());
  await page.keyboard.press("Enter");
  equal("the other one stays", ["tenant-c"], await tenants());
  await post("/v1/revive", { tenant: "tenant-c", reason: "over" });
  await person.leave(FAILED_LOAD);
}

async function atOnce() {
  const people = await Promise.all([visitor(), visitor()]);
  const pages = await Promise.all(people.map((person) => person.signIn("olga", "/rollouts/next")));
  for (const page of pages) {
    await page.keyboard.press("h");
    await page.keyboard.type("at once");
  }
  const before = (await records()).length;
  await Promise.all(pages.map((page) => page.keyboard.press("Enter")));
  for (const page of pages)
    await until("an answer", async () => /Record \d+|others acted|Nothing was done|held/.test(await outcome(page)));
  equal("one of both holds", 1, (await records()).slice(before).filter(({ act }) => act === "hold").length);
  // One person presses twice.
  const [page] = pages;
  await page.keyboard.press("Escape");
  await until("live", () => isLive(page));
  await page.waitForSelector(".act[data-path$='/resume']");
  await page.locator(".act[data-path$='/resume']").first().click();
  await page.keyboard.type("twice");
  await page.evaluate(() => {
    const form = document.querySelector("#act-dialog form");
    form.requestSubmit();
    form.requestSubmit();
  });
  await until("done", async () => /Record \d+/.test(await outcome(page)));
  equal("one resume", 1, (await records()).slice(before).filter(({ act }) => act === "resume").length);
  for (const person of people) await person.leave(FAILED_LOAD);
}

async function sessionEnds() {
  const person = await visitor();
  const page = await person.signIn("olga", "/rollouts/next");
  await page.keyboard.press("h");
  await page.keyboard.type("a long reason that is not written twice");
  const other = await person.open("/");
  await other.click("#sign-out button, button#sign-out");
  await other.waitForURL("**/sign-in**");
  await page.bringToFront();
  await page.keyboard.press("Enter");
  await until("the dialog says so", async () => /signed out/i.test(await outcome(page)));
  equal("the reason stays", "a long reason that is not written twice", await page.inputValue("#act-reason"));
  const [tab] = await Promise.all([person.context.waitForEvent("page"), page.click("#act-outcome a")]);
  await tab.fill("input[name=token]", "olga");
  await tab.press("input[name=token]", "Enter");
  await tab.waitForURL("**/rollouts/next");
  await page.bringToFront();
  await page.focus("#act-reason");
  await page.keyboard.press("Enter");
  await until("done now", async () => /Record \d+/.test(await outcome(page)));
  await page.keyboard.press("Escape");
  await until("the page is live again", () => isLive(page));
  await call("/v1/rollouts/next/resume", { ...olga, method: "POST", body: { reason: "the test" } });
  // Without a dialog: the page says that it is signed out, and acts wait.
  await tab.click("#sign-out button, button#sign-out");
  await tab.waitForURL("**/sign-in**");
  await page.bringToFront();
  await until("the page says so", async () => /signed out, stale since \d\d:\d\d:\d\d Z/.test(await freshness(page)));
  equal("acts wait", 0, await page.locator(".act:not([aria-disabled=true])").count());
  await person.leave(FAILED_LOAD);
}

async function links() {
  const link = execFileSync(pointsman, ["dashboard"], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  }).match(/http:\S+#link=\S+/)[0];
  const person = await visitor();
  const page = await person.context.newPage();
  const addresses = [];
  page.on("framenavigated", (frame) => addresses.push(frame.url()));
  // A path of two slashes is another origin for a browser.
  const away = "/sign-in?to=/.//evil.example/#link=";
  await page.goto(link.replace(/^http:.*#link=/, process.env.ADMIN + away));
  await page.waitForURL((url) => url.pathname === "/");
  check("the address has no secret any more", !page.url().includes("link="), page.url());
  equal(
    "the way back does not lead to the link",
    0,
    await page.evaluate(() => (location.hash.includes("link") ? 1 : 0)),
  );
  check("the signed-in page may act", (await page.locator("#kill-open").count()) === 1);
  const other = await visitor();
  const second = await other.context.newPage();
  await second.goto(link.replace(/^http:\/\/[^/]+/, process.env.ADMIN));
  await until("a link is good once", async () => /pointsman dashboard/.test(await text(second, "#sign-in-problem")));
  check("no secret in the address", !second.url().includes("link="), second.url());
  equal("no one is signed in", 0, await second.locator("#kill-open").count());
  await other.leave(FAILED_LOAD);
  await person.leave();
}

async function badToken() {
  const person = await visitor();
  const page = await person.open("/rollouts/next");
  await toSignIn(page);
  await page.fill("input[name=token]", "<img src=x onerror=alert(1)>");
  await page.press("input[name=token]", "Enter");
  await until("it is refused", async () => /\S/.test(await text(page, "#sign-in-problem")));
  await page.fill("input[name=token]", "vera");
  await page.press("input[name=token]", "Enter");
  await page.waitForURL("**/rollouts/next");
  for (const to of [
    "//evil.example/",
    "https://evil.example/",
    "/\\evil.example",
    "javascript:alert(1)",
    "/%0d%0aset-cookie:x",
  ]) {
    const away = await visitor();
    const tab = await away.open(`/sign-in?to=${encodeURIComponent(to)}`);
    await tab.fill("input[name=token]", "vera");
    await tab.press("input[name=token]", "Enter");
    await tab.waitForURL((url) => url.pathname !== "/sign-in");
    equal(`to ${to}`, new URL(process.env.ADMIN).origin, new URL(tab.url()).origin);
    await away.leave(FAILED_LOAD);
  }
  await person.leave(FAILED_LOAD);
}

async function tabsShareAStream() {
  const person = await visitor();
  const page = await person.signIn("vera");
  const tabs = [page];
  for (let at = 0; at < 7; at += 1) tabs.push(await person.open("/routes"));
  for (const tab of tabs) {
    await tab.bringToFront();
    await until("each tab becomes live", () => isLive(tab));
  }
  await sleep(500);
  const streams = await Promise.all(
    tabs.map((tab) =>
      tab.evaluate(
        () => performance.getEntriesByType("resource").filter(({ name }) => name.includes("/v1/events")).length,
      ),
    ),
  );
  check(
    "no tab holds more than one stream open",
    streams.every((count) => count <= 2),
    streams,
  );
  await person.leave();
}

await run({
  killByKeyboard,
  viewerSeesNoActs,
  approvalByRole,
  othersActed,
  aSecondLookAtOneOfSeveral,
  atOnce,
  sessionEnds,
  links,
  badToken,
  tabsShareAStream,
});

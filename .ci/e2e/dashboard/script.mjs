// What the script does when answers are lost, late or bad, and that a live update disturbs no reader: `script.mjs`, with the token
// `olga`. Answers of the proxy are held back or changed on their way to the browser.
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
  until,
  visitor,
} from "./browser.mjs";

const olga = { token: "olga" };
const records = async () => (await call("/v1/journal?limit=1000", olga)).value.records;
const outcome = (page) => text(page, "#act-outcome");
const FAILED_LOAD = /Failed to load resource/;
const HOLD = /\/v1\/rollouts\/next\/hold$/;
// What the script fetches again, not what a person opens.
const isRefetch = (route) => route.request().resourceType() === "fetch";

// Changes the text of a page that is fetched again. Where `isWhole`, the page comes whole although it is the same.
async function rewrite(page, path, change, isWhole = () => false) {
  await page.route(
    (url) => url.pathname === path,
    async (route) => {
      if (!isRefetch(route)) return route.fallback();
      try {
        const headers = { ...route.request().headers() };
        if (isWhole()) delete headers["if-none-match"];
        const answer = await route.fetch({ headers });
        const content = await answer.text();
        return await route.fulfill({ response: answer, ...(answer.status() === 200 && { body: change(content) }) });
      } catch (error) {
        // The browser ends meanwhile.
        if (/closed|disposed/.test(error.message)) return undefined;
        throw error;
      }
    },
  );
}

const order = (page) => page.$$eval("#main tr[data-row][tabindex]", (rows) => rows.map((row) => row.dataset.row));
const top = (page, row) => page.locator(`[data-row='${row}']`).evaluate((one) => one.getBoundingClientRect().top);

async function rowsStayUnderThePointer() {
  const person = await visitor();
  const page = await person.signIn("olga");
  await until("live", () => isLive(page));
  const before = await order(page);
  check("there are rows", before.length >= 2, before);
  const last = before.at(-1);
  await page.hover(`[data-row='${last}'] td >> nth=0`);
  const at = await top(page, last);
  const seq = () => page.evaluate(() => document.body.dataset.seq);
  const seen = await seq();
  let turned = 0;
  await rewrite(page, "/", (content) => {
    turned += 1;
    // The last row comes first, and there is more above the table.
    const [head, ...rest] = content.split("<tbody");
    const rows = rest.join("<tbody").match(/<tr [^>]*data-row=.*?<\/tr>/gs);
    const body = rest.join("<tbody").replace(rows.join(""), [...rows].reverse().join(""));
    const above = head
      .replace(/(<main[^>]*>)/, '$1<p id="more">more<br>more<br>more</p>')
      .replace('id="banner"', `$& data-turn="${turned}"`)
      .replace(/data-seq="\d+"/, 'data-seq="999999"');
    return `${above}<tbody${body}`;
  });
  await until("an update", () => turned >= 2);
  await sleep(200);
  equal("rows keep their order", before, await order(page));
  check("the row is where it was", Math.abs((await top(page, last)) - at) < 1, [at, await top(page, last)]);
  equal("what is above waits", 0, await page.locator("#more").count());
  equal("acts do not say that it was seen", seen, await seq());
  check("the banner does not wait", Number(await page.getAttribute("#banner", "data-turn")) >= 1);
  await page.mouse.move(2, 2);
  await until("without the pointer they have the order of the server", async () => (await order(page))[0] === last);
  equal("and what is above is there", 1, await page.locator("#more").count());
  equal("and is seen", "999999", await seq());
  await person.leave();
}

async function anUpdateDisturbsNothing() {
  const person = await visitor();
  const page = await person.signIn("olga", "/routes");
  let seen = 0;
  await rewrite(page, "/routes", (content) => {
    seen += 1;
    return content.replace("</main>", `<p id="count">${seen}</p></main>`);
  });
  const filter = page.locator("#filter");
  await filter.focus();
  await page.keyboard.type("no route j k x h");
  await until("updates", async () => Number(await text(page, "#count")) >= 2);
  equal("the text is there", "no route j k x h", await filter.inputValue());
  equal("the focus, too", "filter", await focused(page));
  equal("keys of a text open nothing", "", await openDialog(page));
  await page.goto(`${process.env.ADMIN}/upstreams`);
  const details = page.locator("#main details[id]").first();
  if ((await details.count()) > 0) {
    await details.locator("summary").click();
    await sleep(2_600);
    check("what was opened stays open", await details.evaluate((one) => one.open));
  }
  await person.leave();
}

async function aLostAnswer() {
  const person = await visitor();
  const page = await person.signIn("olga", "/rollouts/next");
  const before = (await records()).length;
  const keys = [];
  await page.route(HOLD, async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 1) return route.continue();
    // The act is done; the browser gets no answer.
    await route.fetch();
    return route.abort("connectionreset");
  });
  await page.keyboard.press("h");
  await page.keyboard.type("its answer is lost");
  await page.keyboard.press("Enter");
  await until("the dialog says so", async () =>
    /answer is lost.*not known whether the act is done/.test(await outcome(page)),
  );
  equal("what was written stays", "its answer is lost", await page.inputValue("#act-reason"));
  await page.keyboard.press("Enter");
  await until("the answer of the first call", async () => /Record \d+.*made before/.test(await outcome(page)));
  equal("the same key", keys[0], keys[1]);
  equal("done once", 1, (await records()).slice(before).filter(({ act }) => act === "hold").length);
  await call("/v1/rollouts/next/resume", { ...olga, method: "POST", body: { reason: "the test" } });
  await person.leave(FAILED_LOAD);
}

// A call that is not known by its key may be done twice.
async function aLostAnswerOfAnotherCall() {
  const person = await visitor();
  const page = await person.signIn("olga", "/config");
  await page.route("**/v1/config/reload", (route) => route.abort("connectionreset"));
  await page.locator(".act[data-path='/v1/config/reload']").first().click();
  await page.keyboard.type("its answer is lost");
  await page.locator("#act-do").click();
  await until("the dialog says so", async () => /answer is lost/.test(await outcome(page)));
  matches("look first", /Look at the page first: it may have been done\./, await outcome(page));
  check("it does not say that it is done once", !/once/.test(await outcome(page)));
  await person.leave(FAILED_LOAD);
}

async function aLateAnswer() {
  const person = await visitor();
  const page = await person.signIn("olga", "/rollouts/next");
  await until("live", () => isLive(page));
  const late = [];
  await page.route(HOLD, (route) => void late.push(route));
  await page.route(/\/v1\/rollouts\/next\/(?!hold$)/, (route) =>
    route.fulfill({ status: 403, contentType: "application/problem+json", body: '{"title":"the second is refused"}' }),
  );
  await page.keyboard.press("h");
  await page.keyboard.type("its answer is late");
  await page.keyboard.press("Enter");
  await until("it is under way", () => late.length === 1);
  await page.keyboard.press("Escape");
  await page.locator(".act:not([data-path$='/hold'])[data-path^='/v1/rollouts/next/']").first().click();
  const title = await text(page, "#act-title");
  check("it is another act", !/^Hold/.test(title), title);
  await page.keyboard.type("at once");
  await page.locator("#act-do").click();
  await until("the second one is sent at once", async () => /the second is refused/.test(await outcome(page)));
  await late[0].fulfill({
    contentType: "application/json",
    body: '{"record":{"seq":7},"in_force_ms":1,"workers":1,"workers_in_force":1}',
  });
  await until("the late answer is said", async () => /^next: .*Record 7/.test(await text(page, "#announcer")));
  matches("the dialog shows its own", /^the second is refused\.$/, await outcome(page));
  equal("and its own act", title, await text(page, "#act-title"));
  equal("what was written stays", "at once", await page.inputValue("#act-reason"));
  check("it can be done again", await page.locator("#act-do:not([aria-disabled])").isVisible());
  await person.leave(FAILED_LOAD);
}

async function anotherPersonSignsIn() {
  const person = await visitor();
  const page = await person.signIn("olga", "/config");
  await until("live", () => isLive(page));
  let whole = 0;
  // The first of two attributes with the same name is good.
  const change = (content) => {
    whole += 1;
    return content.replace("<body ", '<body data-viewer="another" ');
  };
  await page.evaluate(() => (globalThis.mark = "the same page"));
  const isSame = () => page.evaluate(() => globalThis.mark === "the same page");
  await page.locator("#help-open").click();
  await rewrite(page, "/config", change, () => whole === 0);
  await until("each page comes whole", () => whole >= 3);
  check("an open dialog stays", (await openDialog(page)) === "help-dialog" && (await isSame()));
  await page.keyboard.press("Escape");
  await until("then the page is loaded anew", async () => !(await isSame()));
  await person.leave(FAILED_LOAD);
}

async function refusals() {
  const person = await visitor();
  const page = await person.signIn("olga", "/rollouts/next");
  const problem = (status, name, more = {}) => ({
    status,
    contentType: "application/problem+json",
    body: JSON.stringify({
      type: `urn:pointsman:problem:${name}`,
      title: "the title",
      status,
      detail: "the <i>detail</i>",
      help: "the help",
      ...more,
    }),
  });
  let answer = null;
  await page.route(HOLD, (route) => route.fulfill(answer));
  await page.keyboard.press("h");
  await page.keyboard.type("why");
  for (const [next, pattern] of [
    [problem(403, "role-missing"), /the title: the <i>detail<\/i>\. ?the help\./],
    [problem(404, "unknown-rollout"), /the help\. The configuration may have changed\./],
    [problem(409, "wrong-state"), /the title: the <i>detail<\/i>\. ?the help\./],
    [problem(503, "not-recorded"), /the help\. Press again: the same call is done once at most\./],
    [{ status: 500, contentType: "text/plain", body: "<b>no document</b>" }, /The proxy answers 500\./],
    [
      {
        status: 200,
        contentType: "application/json",
        body: '{"record":{"seq":7},"in_force_ms":0.12345,"workers":2,"workers_in_force":2,"durable":false,"not_durable_because":"no space"}',
      },
      /In force after 0\.123 ms on 2 of 2 workers\. Record 7 of the journal\. NOT RECORDED on the disk: no space\./,
    ],
  ]) {
    answer = next;
    await page.locator("#act-do").focus();
    await page.keyboard.press("Enter");
    await until(`the answer ${next.status}`, async () => pattern.test(await outcome(page)));
    equal("as text", 0, await page.locator("#act-outcome i, #act-outcome b").count());
  }
  equal("then there is nothing more to do", "act-cancel", await focused(page));
  await person.leave(FAILED_LOAD);
}

async function aPageThatDoesNotCome() {
  const person = await visitor();
  const page = await person.signIn("olga");
  await until("live", () => isLive(page));
  let held = [];
  await page.route(
    (url) => url.pathname === "/",
    (route) => (isRefetch(route) ? void held.push(route) : route.fallback()),
  );
  await until("a late answer makes it stale", async () => /^stale since \d\d:\d\d:\d\d Z/.test(await freshness(page)));
  equal("acts wait", 0, await page.locator("#main .act:not([aria-disabled=true])").count());
  await choose(page, "rollout:next");
  await page.keyboard.press("h");
  equal("none opens", "", await openDialog(page));
  // A kill needs no fresh page.
  await page.keyboard.press("x");
  equal("a kill is possible", "kill-dialog", await openDialog(page));
  matches("it says how old the page is", /stale since/, await text(page, "#kill-outcome"));
  await page.keyboard.press("Escape");
  await page.unrouteAll({ behavior: "ignoreErrors" });
  for (const route of held) await route.abort().catch(() => {});
  held = [];
  await until("live again", () => isLive(page), 20_000);
  await page.route(
    (url) => url.pathname === "/",
    (route) =>
      isRefetch(route)
        ? route.fulfill({ status: 503, contentType: "text/html", body: "<h1>busy</h1>" })
        : route.fallback(),
  );
  await until("a proxy that is busy", async () => /^stale since .*the proxy answers 503/.test(await freshness(page)));
  check("what was shown stays", (await page.locator("[data-row='rollout:next']").count()) === 1);
  await person.leave(FAILED_LOAD);
}

async function aMachineThatSlept() {
  const person = await visitor();
  const page = await person.signIn("olga");
  await page.clock.install();
  await page.reload();
  await page.clock.runFor(1_500);
  await until("live", () => isLive(page));
  await page.route(
    (url) => url.pathname === "/",
    (route) => (isRefetch(route) ? route.abort() : route.fallback()),
  );
  await page.clock.fastForward(3_600_000);
  await page.clock.runFor(1_500);
  await until("it does not say that it is live", async () => /^stale since/.test(await freshness(page)), 5_000);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.clock.runFor(20_000);
  await until("until it is", () => isLive(page));
  await person.leave(FAILED_LOAD);
}

await run({
  rowsStayUnderThePointer,
  anUpdateDisturbsNothing,
  aLostAnswer,
  aLostAnswerOfAnotherCall,
  aLateAnswer,
  anotherPersonSignsIn,
  refusals,
  aPageThatDoesNotCome,
  aMachineThatSlept,
});

// Texts from outside stay text, and addresses that a person edited never fail: `hostile.mjs`, with the token `olga`.
import http from "node:http";
import { admin, call, check, equal, matches, run, text, toSignIn, until, visitor } from "./browser.mjs";

const IMG = '<img src=x onerror="alert(1)">';
const HOSTILE = [
  IMG,
  "\u202Egpj.exe\u202C and \u2066more\u2069",
  `"'><script>alert(1)</script><svg onload=alert(1)>`,
  "{{constructor.constructor('alert(1)')()}} ${alert(1)} &lt;b&gt; %3Cb%3E",
  "W".repeat(240),
];
const olga = { token: "olga" };
const asPage = { ...olga, headers: { Accept: "text/html" } };
const RAW = /<img src=x|<script>alert|<svg onload/;
const PAGES = [
  "/",
  "/rollouts/next",
  "/rollouts/cart:canary",
  "/routes",
  "/routes/notes",
  "/upstreams",
  "/shadows",
  "/experiments",
  "/config",
  "/journal",
  "/kills",
];

async function textsStayText() {
  for (const tenant of HOSTILE) {
    const reason = `${tenant} ${"r".repeat(600)}${IMG}`;
    const { status, text: said } = await call("/v1/kill", { ...olga, method: "POST", body: { tenant, reason } });
    equal(`a kill of ${tenant.slice(0, 20)}: ${said.slice(0, 200)}`, 200, status);
  }
  const shadows = await call("/v1/shadows", olga);
  check(
    "the report of the shadow has hostile samples",
    RAW.test(JSON.stringify(shadows.value).replaceAll('\\"', '"')),
    "none",
  );
  for (const viewport of [
    { width: 1280, height: 800 },
    { width: 360, height: 740 },
  ]) {
    const person = await visitor({ viewport });
    const page = await person.signIn("olga");
    for (const path of PAGES) {
      await page.goto(admin + path);
      await page.waitForFunction(() => document.documentElement.classList.contains("live"));
      const found = await page.evaluate(() => ({
        markup: document.querySelectorAll("#main img, #main script, #main svg[onload], body [onerror], body [style]")
          .length,
        wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
      }));
      equal(`${path} at ${viewport.width} px`, { markup: 0, wide: false }, found);
    }
    await page.goto(`${admin}/kills`);
    const shown = await page.locator("#main").textContent();
    for (const tenant of HOSTILE)
      check(`/kills shows ${tenant.slice(0, 20)} as it is`, shown.includes(tenant.slice(0, 60)), shown.slice(0, 400));
    const isolated = await page.evaluate(() => {
      const walker = document.createTreeWalker(document.querySelector("#main"), NodeFilter.SHOW_TEXT);
      const open = [];
      while (walker.nextNode()) {
        if (!walker.currentNode.data.includes("\u202E")) continue;
        let one = walker.currentNode.parentElement;
        while (
          one &&
          !/isolate|plaintext/.test(getComputedStyle(one).unicodeBidi) &&
          !["TD", "LI", "P"].includes(one.tagName)
        )
          one = one.parentElement;
        if (!/isolate|plaintext/.test(getComputedStyle(one).unicodeBidi)) open.push(one.outerHTML.slice(0, 200));
      }
      return open;
    });
    equal("marks of direction end with their text", [], isolated);
    // The dialog of an act, with such a target.
    const button = page.locator(".act[data-path='/v1/revive']").first();
    await button.click();
    await page.waitForSelector("#act-dialog[open]");
    equal("no markup in a dialog", 0, await page.locator("#act-dialog img, #act-dialog script").count());
    await page.keyboard.press("Escape");
    await person.leave();
  }
  const csv = await call("/journal.csv", olga);
  equal("the export", 200, csv.status);
  matches("is no page", /^text\/csv/, csv.headers.get("content-type"));
  for (const tenant of HOSTILE) {
    const { status } = await call("/v1/revive", { ...olga, method: "POST", body: { tenant, reason: "over" } });
    equal("a revive", 200, status);
  }
}

async function addresses() {
  const values = [
    encodeURIComponent(IMG),
    encodeURIComponent(HOSTILE[2]),
    encodeURIComponent("\u202Eabc"),
    "a".repeat(4_096),
    "",
    "%ff",
    "%",
    "%00",
    "-1",
    "1e9",
    "99999999999999999999999",
    "[]",
    "NaN",
    "%0d%0aset-cookie:%20a=b",
    "..%2f..%2fetc",
  ];
  const names = [
    "filter",
    "text",
    "act",
    "before",
    "from",
    "to",
    "problem",
    "after",
    "limit",
    "points",
    "x",
    encodeURIComponent(IMG),
  ];
  const paths = [...PAGES, "/sign-in", "/journal.csv", "/v1/history", "/v1/journal", "/"];
  let asked = 0;
  const look = async (path) => {
    const { status, text: content, headers } = await call(path, asPage);
    asked += 1;
    check(`${path.slice(0, 120)} is no failure of the server`, status < 500, status);
    if (headers.get("content-type")?.startsWith("text/html"))
      check(`${path.slice(0, 120)} has no markup from outside`, !RAW.test(content));
    check("no cookie from outside", !headers.get("set-cookie"), headers.get("set-cookie"));
  };
  for (const path of paths) {
    for (const name of names) for (const value of values) await look(`${path}?${name}=${value}`);
    for (const query of [
      "?",
      "?filter",
      "?filter=a&filter=b",
      "?before=1&before=2",
      "?&&&==&",
      "?text[]=a",
      "?__proto__=x",
    ])
      await look(path + query);
  }
  for (const path of ["/rollouts/", "/routes/", "/v1/history?rollout=", "/v1/history?route=", "/v1/rollouts/"]) {
    for (const value of values) await look(path + value);
  }
  console.error(`   ${asked} addresses`);
}

// A request with this Host.
function withHost(host, path = "/") {
  const { hostname, port } = new URL(admin);
  return new Promise((done, fail) => {
    const request = http.get(
      {
        hostname,
        port,
        path,
        setHost: false,
        headers: { Host: host, Accept: "text/html", Authorization: "Bearer olga" },
      },
      (response) => {
        let content = "";
        response.setEncoding("utf8");
        response.on("data", (part) => (content += part));
        response.on("end", () => done({ status: response.statusCode, content }));
      },
    );
    request.on("error", fail);
  });
}

async function hosts() {
  const refused = await withHost("edge.example:9900");
  equal("a foreign Host", 403, refused.status);
  matches(
    "the refusal has the line to add",
    /hosts = \[(&quot;|"|&#34;)edge\.example(&quot;|"|&#34;)\]/,
    refused.content,
  );
  const hostile = await withHost('x"><img src=x onerror=alert(1)>');
  check("a hostile Host is refused", hostile.status >= 400 && hostile.status < 500, hostile.status);
  check("and is not shown as markup", !RAW.test(hostile.content));
  for (const host of ["localhost", "127.0.0.1", "[::1]"]) equal(host, 200, (await withHost(host)).status);
}

async function fields() {
  for (const path of ["/", "/sign-in", "/rollouts/none", "/assets/dashboard.js", "/v1/routes", "/journal.csv"]) {
    const { headers } = await call(path, asPage);
    const policy = headers.get("content-security-policy") ?? "";
    for (const part of [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "connect-src 'self'",
      "frame-ancestors 'none'",
      "form-action 'self'",
      "base-uri 'none'",
      "require-trusted-types-for 'script'",
    ]) {
      check(`${path}: ${part}`, policy.includes(part), policy);
    }
    check(`${path}: nothing unsafe`, !/unsafe|\*|https?:/.test(policy), policy);
    equal(`${path}: nosniff`, "nosniff", headers.get("x-content-type-options"));
    // With `no-referrer` a browser sends forms with `Origin: null`.
    matches(`${path}: no address to other sites`, /^(no-referrer|same-origin)$/, headers.get("referrer-policy"));
    equal(`${path}: opener`, "same-origin", headers.get("cross-origin-opener-policy"));
    equal(`${path}: resource`, "same-origin", headers.get("cross-origin-resource-policy"));
    equal(
      `${path}: no other site`,
      [],
      [...headers.keys()].filter((name) => name.startsWith("access-control-")),
    );
  }
  for (const path of ["/v1/kill", "/v1/revive", "/v1/config/reload", "/sign-out", "/v1/session/end"]) {
    const { status } = await call(path, { ...olga, headers: { Accept: "text/html" } });
    check(`GET ${path} does nothing`, status === 405 || path === "/v1/kill", status);
  }
}

async function signInWithoutScript() {
  const person = await visitor({ javaScriptEnabled: false });
  const page = await person.open("/rollouts/next");
  await toSignIn(page);
  await page.fill("input[name=token]", "wrong");
  await page.press("input[name=token]", "Enter");
  await page.waitForURL("**/sign-in**");
  await until("the page says why", async () => /\S/.test(await text(page, "#sign-in-problem")));
  await page.fill("input[name=token]", "olga");
  await page.press("input[name=token]", "Enter");
  await page.waitForURL("**/rollouts/next");
  matches("it can be read", /next/, await page.locator("#main").innerText());
  equal("nothing acts", 0, await page.locator(".act:visible, #kill-open:visible").count());
  await page.locator("#sign-out button, button#sign-out").click();
  await page.waitForURL("**/sign-in**");
  const again = await page.goto(`${admin}/`);
  check("signed out", again.status() === 401 || new URL(again.url()).pathname === "/sign-in", again.status());
  await person.leave(/status of 401/);
}

await run({ hosts, fields, signInWithoutScript, addresses, textsStayText });

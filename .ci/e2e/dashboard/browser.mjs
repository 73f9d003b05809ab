// Shared by the tests of the dashboard: Chromium, visitors, checks. Environment: CHROMIUM (its path), NODE_FOLDER (where
// playwright-core and axe-core are installed), ADMIN (the address of the admin listener). A test prints what it wants to
// say on its error output, and how many checks passed on its output.
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { readFileSync } from "node:fs";

const require = createRequire(`${process.env.NODE_FOLDER}/package.json`);
const { chromium } = require("playwright-core");
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const admin = process.env.ADMIN;
export { sleep };
let passed = 0;
let browser = null;

export class Failed extends Error {}

// Counts a check, or fails with what was found.
export function check(what, isSo, found = "") {
  if (!isSo)
    throw new Failed(`${what}${found === "" ? "" : `: ${typeof found === "string" ? found : JSON.stringify(found)}`}`);
  passed += 1;
}

export function equal(what, expected, found) {
  const [left, right] = [JSON.stringify(expected), JSON.stringify(found)];
  check(what, left === right, `expected ${left}, found ${right}`);
}

export function matches(what, pattern, text) {
  check(what, pattern.test(text ?? ""), `${pattern} does not match: ${String(text).slice(0, 600)}`);
}

// Repeats `look` until it returns something true, which it returns.
export async function until(what, look, ms = 15_000) {
  const end = performance.now() + ms;
  let last = "";
  for (;;) {
    try {
      const found = await look();
      if (found) {
        passed += 1;
        return found;
      }
      last = found;
    } catch (error) {
      if (error instanceof TypeError || error instanceof ReferenceError) throw error;
      last = error.message?.split("\n")[0];
    }
    if (performance.now() > end) throw new Failed(`${what}: not within ${ms} ms; last: ${last}`);
    await sleep(50);
  }
}

// Someone with a browser of their own: cookies, errors, requests.
export class Visitor {
  constructor(context) {
    this.context = context;
    this.errors = [];
    this.foreign = [];
    this.failed = [];
    context.on("page", (page) => this.watch(page));
  }

  watch(page) {
    page.on("pageerror", (error) => this.errors.push(`${page.url()}: ${error}`));
    page.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      this.errors.push(`${page.url()}: ${message.text()} ${message.location().url}`);
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol !== "data:" && url.origin !== new URL(admin).origin) this.foreign.push(request.url());
    });
    page.on("dialog", (dialog) => {
      this.errors.push(`${page.url()}: a script opened a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
  }

  async open(path) {
    const page = await this.context.newPage();
    await page.goto(admin + path);
    return page;
  }

  // A page after signing in by the form.
  async signIn(token, to = "/") {
    const page = await this.open(`/sign-in?to=${encodeURIComponent(to)}`);
    await page.fill("input[name=token]", token);
    await page.press("input[name=token]", "Enter");
    await page.waitForURL((url) => url.pathname !== "/sign-in");
    return page;
  }

  // Ends: no error in the console but these, and no request to another origin.
  async leave(...expected) {
    await this.context.close();
    const errors = this.errors.filter((error) => !expected.some((pattern) => pattern.test(error)));
    equal("errors in the console", [], errors);
    equal("requests to another origin", [], this.foreign);
  }
}

export async function visitor(options = {}) {
  return new Visitor(await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options }));
}

// The violations that axe-core calls serious or critical.
export async function violations(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(
      ({ id, impact, nodes }) =>
        `${impact} ${id}: ${nodes
          .slice(0, 3)
          .map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary?.split("\n")[1] ?? ""}`)
          .join(" | ")}`,
    );
}

export const text = (page, selector) => page.locator(selector).first().textContent({ timeout: 15_000 });
export const freshness = (page) => text(page, "#freshness");
export const isLive = async (page) => /^live/.test(await freshness(page));
export const openDialog = (page) => page.evaluate(() => document.querySelector("dialog[open]")?.id ?? "");
export const focused = (page) =>
  page.evaluate(() => document.activeElement?.id || document.activeElement?.dataset?.row || "");

// From a page that refuses to show itself to the page for signing in.
export async function toSignIn(page) {
  if (new URL(page.url()).pathname !== "/sign-in") await page.locator("a[href^='/sign-in']").first().click();
  await page.waitForSelector("input[name=token]");
}

// Goes to a row by `j`, as a person does.
export async function choose(page, row) {
  for (let at = 0; at < 200; at += 1) {
    await page.keyboard.press("j");
    if ((await focused(page)) === row) return;
  }
  throw new Failed(`no row ${row} by j: the last one is ${await focused(page)}`);
}

// Calls the API as a program.
export async function call(path, { token, method = "GET", body, headers = {} } = {}) {
  const response = await fetch(admin + path, {
    method,
    headers: {
      ...(token && { Authorization: `Bearer ${token}` }),
      ...(body && { "Content-Type": "application/json" }),
      ...headers,
    },
    redirect: "manual",
    ...(body && { body: JSON.stringify(body) }),
  });
  const content = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json");
  return {
    status: response.status,
    headers: response.headers,
    text: content,
    value: isJson ? JSON.parse(content) : null,
  };
}

// Runs the parts of a test, each with a name.
export async function run(parts) {
  let code = 0;
  const only = process.env.ONLY;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
    ],
  });
  try {
    for (const [name, part] of Object.entries(parts)) {
      if (only && !name.includes(only)) continue;
      const begun = performance.now();
      try {
        await part();
      } catch (error) {
        code = 1;
        console.error(`FAILED: ${name}: ${error instanceof Failed ? error.message : error.stack}`);
        if (!process.env.ALL) break;
      }
      console.error(`   ${name}: ${((performance.now() - begun) / 1_000).toFixed(1)} s`);
    }
  } finally {
    await browser.close();
  }
  if (code === 0) console.log(passed);
  process.exit(code);
}

// Every page in both themes and from 360 px to a wall screen: `pages.mjs TOKEN PATH…`. No error in the console, nothing from
// another origin, nothing wider than the screen, and axe-core finds nothing serious.
import { check, equal, run, sleep, violations, visitor } from "./browser.mjs";

const [token, ...paths] = process.argv.slice(2);
const SCREENS = [
  { name: "light", options: { colorScheme: "light" }, axe: true },
  { name: "dark", options: { colorScheme: "dark" }, axe: true },
  { name: "360 px", options: { viewport: { width: 360, height: 740 }, hasTouch: true }, axe: true },
  { name: "1920 px", options: { viewport: { width: 1920, height: 1080 } } },
  { name: "forced colours, no motion", options: { forcedColors: "active", reducedMotion: "reduce" } },
];

async function look(page, path, { name, axe }) {
  await page.goto(process.env.ADMIN + path);
  // One live update is part of it.
  await page.waitForFunction(() => document.documentElement.classList.contains("live"));
  await sleep(100);
  const main = await page.evaluate(() => document.querySelector("#main")?.innerText.trim().length ?? 0);
  check(`${path}, ${name}: it has content`, main > 20, `${main} characters`);
  const heads = await page.locator("#main h1").count();
  equal(`${path}, ${name}: headings`, 1, heads);
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const own = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > width + 1);
    return document.documentElement.scrollWidth > width
      ? own.slice(0, 3).map((one) => one.outerHTML.slice(0, 120))
      : [];
  });
  equal(`${path}, ${name}: what is wider than the screen`, [], wide);
  if (axe) equal(`${path}, ${name}: axe-core`, [], await violations(page));
}

// Closes a dialog by the keyboard: the first Escape may close the list of its field.
async function closed(page, id) {
  const dialog = page.locator(`#${id}:not([open])`);
  for (let tries = 0; tries < 3; tries += 1) {
    await page.keyboard.press("Escape");
    if (await dialog.waitFor({ state: "attached", timeout: 5_000 }).then(() => true, () => false)) return;
  }
  throw new Error(`${id} does not close by Escape`);
}

const parts = {};
for (const screen of SCREENS) {
  parts[screen.name] = async () => {
    const anyone = await visitor(screen.options);
    await look(await anyone.open("/sign-in"), "/sign-in", screen);
    await anyone.leave();
    const olga = await visitor(screen.options);
    const page = await olga.signIn(token);
    for (const path of paths) await look(page, path, screen);
    if (screen.axe) {
      await page.goto(`${process.env.ADMIN}/`);
      for (const [id, key] of [
        ["kill-dialog", "x"],
        ["help-dialog", "?"],
        ["act-dialog", "h"],
      ]) {
        if (key === "h")
          await page
            .locator("#main .act[data-key=h]")
            .first()
            .evaluate((one) => one.closest("[data-row]")?.focus());
        await page.keyboard.press(key);
        await page.waitForSelector(`#${id}[open]`, { timeout: 20_000 });
        equal(`${id}, ${screen.name}: axe-core`, [], await violations(page));
        await closed(page, id);
      }
    }
    await olga.leave();
  };
}
await run(parts);

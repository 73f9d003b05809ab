// A page with thousands of rows stays live, and its updates never hold the browser up for long: `many.mjs PATH…`.
import { check, freshness, isLive, matches, run, sleep, until, visitor } from "./browser.mjs";

const LONGEST_MS = 1_500;

async function updates() {
  const person = await visitor();
  await person.context.addInitScript(() => {
    globalThis.longTasks = [];
    new PerformanceObserver((list) =>
      longTasks.push(...list.getEntries().map(({ startTime, duration }) => [startTime, duration])),
    ).observe({ type: "longtask" });
  });
  for (const path of process.argv.slice(2)) {
    const page = await person.open(path);
    await until("live", () => isLive(page));
    const from = await page.evaluate(() => performance.now());
    await sleep(6_000);
    const tasks = await page.evaluate(() => longTasks);
    const longest = Math.max(0, ...tasks.filter(([start]) => start > from).map(([, duration]) => duration));
    console.error(
      `   ${path}: ${await page.locator("#main tr[data-row]").count()} rows, an update takes at most ${Math.round(longest)} ms`,
    );
    check(`the longest task on ${path}`, longest < LONGEST_MS, longest);
    matches(`${path} stays live`, /^live/, await freshness(page));
    await page.close();
  }
  await person.leave();
}

await run({ updates });

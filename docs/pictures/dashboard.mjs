// Takes the pictures of the dashboard of a running demo: `dashboard.mjs ADDRESS TOKEN-FILE FOLDER`. See dashboard.sh.
import { createRequire } from "node:module";
import { readFileSync, statSync } from "node:fs";

const [address, tokenFile, folder] = process.argv.slice(2);
const require = createRequire(`${process.env.NODE_FOLDER}/package.json`);
const { chromium } = require("playwright-core");
const PICTURES = [
  { name: "overview-light", path: "/", colorScheme: "light" },
  { name: "overview-dark", path: "/", colorScheme: "dark" },
  { name: "rollout-light", path: "/rollouts/shop-v2", colorScheme: "light" },
];
const BYTES_MAX = 200_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--font-render-hinting=none",
  ],
});
try {
  for (const { name, path, colorScheme } of PICTURES) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme, locale: "en-GB" });
    await page.goto(`${address}/sign-in?to=${encodeURIComponent(path)}`);
    await page.fill("input[name=token]", readFileSync(tokenFile, "utf8").trim());
    await page.press("input[name=token]", "Enter");
    await page.waitForURL((url) => url.pathname === path);
    await page.locator("#main").getByText("rolled back").first().waitFor();
    await page.waitForFunction(() => document.querySelector("#freshness")?.textContent === "live");
    const file = `${folder}/${name}.png`;
    await page.screenshot({ path: file, animations: "disabled", caret: "hide" });
    const { size } = statSync(file);
    if (size > BYTES_MAX) throw new Error(`${file} has ${size} bytes, more than ${BYTES_MAX}`);
    console.log(`   ${name}.png: ${size} bytes`);
    await page.close();
  }
} finally {
  await browser.close();
}

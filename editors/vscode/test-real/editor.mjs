// A running VS Code (its server, and its page in Chromium), and what a person does in it and sees of it.

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

const SIZE = { width: 1200, height: 760 };

/** What is waited for takes a second or two; on a busy machine far longer. */
const WAIT_MS = 60_000;

export class Editor {
  #shots = 0;

  constructor(server, browser, page, place) {
    this.server = server;
    this.browser = browser;
    this.page = page;
    this.place = place;
  }

  /** `place` names folders: the server's `program`, its `data`, its `extensions`, the `work` to open, and the `shots`. */
  static async start(place, browserPath, settings) {
    writeSettings(place, settings);
    const given = ["--host", "127.0.0.1", "--port", "0", "--without-connection-token", "--accept-server-license-terms"];
    const folders = ["--server-data-dir", place.data, "--extensions-dir", place.extensions];
    const main = join(place.program, "out", "server-main.js");
    const server = spawn(process.execPath, [main, ...given, ...folders, "--telemetry-level", "off"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const port = await said(server, /Extension host agent listening on (\d+)/);
    const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
    const page = await browser.newPage({ viewport: SIZE });
    page.setDefaultTimeout(WAIT_MS);
    await page.goto(`http://127.0.0.1:${port}/?folder=${encodeURIComponent(place.work)}`);
    await page.locator(".monaco-workbench").waitFor();
    return new Editor(server, browser, page, place);
  }

  async close() {
    await this.browser.close();
    this.server.kill();
  }

  /** Writes the settings; the editor sees that by itself. */
  set(settings) {
    writeSettings(this.place, settings);
  }

  async trust() {
    await this.page.getByText("Yes, I trust the authors").click();
  }

  async open(name) {
    await this.page.locator(".explorer-folders-view").getByText(name, { exact: true }).dblclick();
    await this.line("def double").waitFor();
  }

  /** Puts the cursor at the end of a line, counted from 1. */
  async go(line) {
    await this.page.keyboard.press("Control+g");
    await this.page.locator(".quick-input-box input").fill(`:${line}`);
    await this.page.keyboard.press("Enter");
    await this.page.locator(".quick-input-widget").waitFor({ state: "hidden" });
    await this.page.getByText(`Ln ${line},`).waitFor();
    await this.page.keyboard.press("End");
  }

  async command(title) {
    await this.page.keyboard.press("F1");
    await this.page.locator(".quick-input-box input").fill(`>${title}`);
    await this.page.locator(".quick-input-list .monaco-list-row").filter({ hasText: title }).first().click();
  }

  /** Chooses the first code action, once the language server offers it under that title. */
  async action(title) {
    const offered = this.page.locator(".action-widget").getByText(title, { exact: true });
    for (let tries = 0; tries < 20; tries += 1) {
      await this.page.keyboard.press("Control+.");
      const came = await offered.waitFor({ timeout: 3000 }).then(
        () => true,
        () => false,
      );
      if (came) {
        await this.shot("code-action");
        await this.page.keyboard.press("Enter");
        await offered.waitFor({ state: "hidden" });
        return;
      }
      await this.page.keyboard.press("Escape");
    }
    throw new Error(`no code action ${title}`);
  }

  /** A line of the editor that has a text. */
  line(text) {
    return this.page.locator(".view-line").filter({ hasText: noBreaks(text) }).first();
  }

  tab(title) {
    return this.page.locator(".tab").filter({ hasText: title });
  }

  /** A row of the tree of solves. */
  row(text) {
    return this.page.locator(".pane-body .monaco-list-row").filter({ hasText: text });
  }

  status(text) {
    return this.page.locator(".statusbar-item").filter({ hasText: text });
  }

  get notifications() {
    return this.page.locator(".notifications-toasts .notification-list-item");
  }

  notification(text) {
    return this.notifications.filter({ hasText: text }).first();
  }

  /** The button of the difference that applies it. */
  get apply() {
    return this.page.locator('.editor-actions [aria-label^="Apply Program"]');
  }

  async shot(name) {
    this.#shots += 1;
    await this.page.screenshot({ path: join(this.place.shots, `${String(this.#shots).padStart(2, "0")}-${name}.png`) });
  }
}

/** Waits until a process says something that fits; what the first group of it holds. */
export function said(child, pattern) {
  return new Promise((resolve, reject) => {
    let text = "";
    const late = setTimeout(() => reject(new Error(`nobody said ${pattern} but:\n${text}`)), WAIT_MS);
    const listen = (data) => {
      text += data;
      const found = pattern.exec(text);
      if (found !== null) {
        clearTimeout(late);
        child.stdout.off("data", listen);
        resolve(found[1]);
      }
    };
    child.stdout.on("data", listen);
  });
}

/** Waits until `holds()`. */
export async function until(holds, what) {
  for (let waited = 0; waited < WAIT_MS; waited += 100) {
    if (holds()) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`it never came to be that ${what}`);
}

function writeSettings(place, settings) {
  const folder = join(place.data, "data", "Machine");
  mkdirSync(folder, { recursive: true });
  const quiet = { "workbench.startupEditor": "none", "git.enabled": false, "files.autoSave": "off" };
  writeFileSync(join(folder, "settings.json"), JSON.stringify({ ...quiet, ...settings }));
}

// The editor draws spaces as such that do not break.
function noBreaks(text) {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(" ", "[ \\u00a0]"));
}

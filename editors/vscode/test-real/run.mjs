// Drives the extension in a real VS Code: `make vscode-real`. Pictures of what was seen come into dist/real.

import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const EXTENSION = dirname(HERE);
const ROOT = resolve(EXTENSION, "..", "..");
const PROGRAM = join(HERE, "node_modules", "code-server", "lib", "vscode");
const INSTALL = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
const UNREACHABLE = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED|E404)\b/;

/** What is needed cannot be had here. */
class Missing extends Error {}

/** Runs npm; skips where what it needs cannot be fetched. */
function npm(folder, ...given) {
  const done = spawnSync("npm", given, { cwd: folder, encoding: "utf8" });
  const said = `${done.stdout}\n${done.stderr}`;
  const missing = UNREACHABLE.exec(said);
  if (done.status !== 0 && missing !== null) {
    throw new Missing(`npm ${given.join(" ")}: the npm registry cannot be reached or has it no more (${missing[0]})`);
  }
  if (done.status !== 0) {
    throw new Error(`npm ${given.join(" ")}:\n${said}\n${done.error ?? ""}`);
  }
}

function onPath(...names) {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
}

/** VS Code's server, with what it runs on; its native modules are not built, so it has no terminal and no search. */
function installEditor() {
  if (!existsSync(join(PROGRAM, "node_modules"))) {
    npm(HERE, "ci", ...INSTALL);
    npm(PROGRAM, "install", "--omit=dev", ...INSTALL);
  }
}

/** Packs the extension as a user does, and installs the file. */
function installExtension(place) {
  if (!existsSync(join(EXTENSION, "node_modules"))) {
    npm(EXTENSION, "ci", ...INSTALL);
  }
  npm(EXTENSION, "run", "--silent", "build");
  npm(EXTENSION, "run", "--silent", "package", "--", "--out", place.vsix);
  const folders = ["--server-data-dir", place.data, "--extensions-dir", place.extensions];
  const main = join(PROGRAM, "out", "server-main.js");
  const done = spawnSync(process.execPath, [main, ...folders, "--install-extension", place.vsix], { encoding: "utf8" });
  if (!done.stdout.includes("was successfully installed")) {
    throw new Error(`the extension cannot be installed:\n${done.stdout}\n${done.stderr}`);
  }
}

/** Where everything is. */
function places() {
  const base = mkdtempSync(join(tmpdir(), "thresher-vscode-"));
  const of = (name) => join(base, name);
  const shots = join(EXTENSION, "dist", "real");
  const place = { base, program: PROGRAM, data: of("data"), extensions: of("extensions"), work: of("work"), shots };
  mkdirSync(shots, { recursive: true });
  readdirSync(shots).forEach((name) => rmSync(join(shots, name)));
  mkdirSync(place.work);
  copyFileSync(join(HERE, "double.py"), join(place.work, "double.py"));
  return { ...place, vsix: of("thresher.vsix"), socket: of("s.sock") };
}

async function run(place, browserPath, python) {
  const { Editor, said } = await import("./editor.mjs");
  const { steps } = await import("./steps.mjs");
  const server = spawn(python, ["-m", "support.serve_editor", place.socket], {
    cwd: ROOT,
    env: { ...process.env, PYTHONPATH: [join(ROOT, "tests"), ROOT, join(ROOT, "proto")].join(delimiter) },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const settings = {
    "thresher.command": [python, "-m", "thresher.lsp"],
    "thresher.address": `unix:${place.socket}`,
  };
  // Where the editor's language server looks for this user's server, there is none.
  process.env.XDG_RUNTIME_DIR = place.base;
  let editor;
  try {
    await said(server, /(ready)/);
    editor = await Editor.start(place, browserPath, settings);
    const all = steps({ editor, file: join(place.work, "double.py"), server, settings });
    for (const [name, work] of Object.entries(all)) {
      await work();
      console.log(`ok: ${name}`);
    }
    console.log(`${Object.keys(all).length} steps went well; pictures are in ${place.shots}`);
  } catch (error) {
    await editor?.shot("failed");
    throw error;
  } finally {
    await editor?.close();
    server.kill();
  }
}

const python = join(ROOT, ".venv", "bin", "python");
const place = places();
try {
  const browserPath = onPath("chromium", "chromium-browser", "google-chrome");
  if (browserPath === undefined) {
    throw new Missing("no Chromium on PATH; `apt-get install chromium` brings one");
  }
  installEditor();
  installExtension(place);
  await run(place, browserPath, python);
} catch (error) {
  if (!(error instanceof Missing)) {
    throw error;
  }
  console.log(`skipped: ${error.message}`);
} finally {
  rmSync(place.base, { recursive: true, force: true });
}

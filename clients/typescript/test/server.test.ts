// How a server is found.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { findServer, ThresherError } from "../src/index.js";

function folder(content?: object): string {
  const base = mkdtempSync(join(tmpdir(), "thr-"));
  const own = join(base, "thresher");
  mkdirSync(own, { mode: 0o700 });
  if (content !== undefined) {
    writeFileSync(join(own, "server.json"), JSON.stringify(content));
  }
  return base;
}

test("a named server goes before the local one", () => {
  const environment = { THRESHER_ADDRESS: "127.0.0.1:1", THRESHER_TOKEN: "t" };
  assert.deepEqual(findServer(undefined, undefined, environment), { target: "127.0.0.1:1", token: "t" });
  assert.deepEqual(findServer("unix:/s", "mine", environment), { target: "unix:/s", token: "mine" });
});

test("the local server is found by its runtime file, with its token", () => {
  const base = folder();
  writeFileSync(join(base, "token"), "secret\n");
  const info = { address: "unix:/s", pid: process.pid, token_file: join(base, "token") };
  writeFileSync(join(base, "thresher", "server.json"), JSON.stringify(info));
  assert.deepEqual(findServer(undefined, undefined, { XDG_RUNTIME_DIR: base }), { target: "unix:/s", token: "secret" });
});

test("TLS is refused, not left out", () => {
  const local = folder({ address: "127.0.0.1:1", pid: process.pid, token_file: null, tls: true });
  for (const environment of [{ XDG_RUNTIME_DIR: local }, { THRESHER_ADDRESS: "host:1", THRESHER_TLS: "1" }]) {
    assert.throws(
      () => findServer(undefined, undefined, environment),
      (error: ThresherError) => error.reason === "NO_TLS",
    );
  }
  assert.deepEqual(findServer("unix:/s", undefined, { THRESHER_TLS: "1" }), { target: "unix:/s" });
});

test("no server, a dead one, and a folder open to others are told apart", () => {
  const dead = { address: "unix:/s", pid: 2 ** 22 + 1, token_file: null };
  const open = folder({ ...dead, pid: process.pid });
  chmodSync(join(open, "thresher"), 0o755);
  for (const [base, text] of [
    [folder(), /none runs here; start one with: thresher serve/],
    [folder(dead), /is gone/],
    [open, /not a folder of yours alone/],
  ] as const) {
    assert.throws(
      () => findServer(undefined, undefined, { XDG_RUNTIME_DIR: base }),
      (error: ThresherError) => error.reason === "NO_SERVER" && text.test(error.message),
    );
  }
});

// The bundle loads, and asks for nothing but VS Code and Node's own modules.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { builtinModules, createRequire } from "node:module";
import { test } from "node:test";

const require = createRequire(`${process.cwd()}/`);

test("the bundle is whole", () => {
  const text = readFileSync("dist/extension.js", "utf8");
  const wanted = new Set([...text.matchAll(/require\("([^"]+)"\)/g)].map((match) => match[1] ?? ""));
  const foreign = [...wanted].filter((name) => !builtinModules.includes(name.replace("node:", "")));
  assert.deepEqual(foreign, ["vscode"]);
  assert.ok(statSync("dist/extension.js").size < 1_000_000);
});

test("it exports what VS Code calls", () => {
  const module = require("node:module");
  const load = module._load;
  // Of VS Code's classes the language client makes its own: any class does to load it.
  const anything: unknown = new Proxy(class {}, { get: (target, key) => (key in target ? Reflect.get(target, key) : anything) });
  module._load = (name: string, ...rest: unknown[]) => (name === "vscode" ? anything : load(name, ...rest));
  try {
    const extension = require("./dist/extension.js");
    assert.deepEqual([typeof extension.activate, typeof extension.deactivate], ["function", "function"]);
  } finally {
    module._load = load;
  }
});

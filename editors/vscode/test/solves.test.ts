// From the server's events to the tree.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Solves } from "../src/solves.js";
import { SolveTree } from "../src/tree.js";
import { recorded } from "./recorded.js";

function tree(): { solves: Solves; view: SolveTree; changes: () => number } {
  let changes = 0;
  const solves = new Solves(() => {
    changes += 1;
  });
  return { solves, view: new SolveTree(() => solves), changes: () => changes };
}

test("a running solve shows its programs and their verdicts as they come", () => {
  const { solves, view, changes } = tree();
  const shown: unknown[] = [];
  for (const event of recorded.events) {
    solves.apply(event);
    const [root] = view.getChildren();
    assert.ok(root);
    const item = view.getTreeItem(root) as unknown as Record<string, unknown>;
    shown.push([item["label"], item["description"], item["contextValue"]]);
  }
  assert.equal(changes(), recorded.events.length);
  assert.deepEqual(shown, [
    ["double", "2 tests", "running"],
    ["double", "1 program, 0 judged", "running"],
    ["double", "1 program, 1 judged", "running"],
    ["double", "2 programs, 1 judged", "running"],
    ["double", "2 programs, 2 judged", "running"],
    ["double", "solved by program 1", "ended"],
  ]);
});

test("programs are shown the best first, with what they failed at", () => {
  const { solves, view } = tree();
  recorded.events.forEach((event) => solves.apply(event));
  solves.finish(recorded.result);
  const [root] = view.getChildren();
  const items = view.getChildren(root).map((node) => view.getTreeItem(node) as unknown as Record<string, unknown>);
  assert.deepEqual(
    items.map((item) => [item["label"], item["description"]]),
    [
      ["program 1", "passed (2 of 2)"],
      ["program 0", "wrong answer (1 of 2): double(-1) gives 1, expected -2"],
    ],
  );
  assert.deepEqual((items[0]?.["command"] as { arguments: unknown[] }).arguments, [recorded.result.id, 1]);
  assert.deepEqual(view.getChildren(view.getChildren(root)[0]), []);
});

test("old solves are forgotten, and unknown ones ignored", () => {
  const { solves } = tree();
  for (let number = 0; number < 30; number += 1) {
    solves.apply({ id: `s${number}`, kind: "started", uri: "file:///a.py", function: "f", tests: 1, workDoneToken: null });
  }
  assert.equal(solves.all.length, 20);
  assert.equal(solves.all[0]?.id, "s29");
  solves.apply({ id: "s0", kind: "ended", message: "late" });
  assert.equal(solves.find("s0"), undefined);
  solves.clear();
  assert.equal(solves.all.length, 0);
});

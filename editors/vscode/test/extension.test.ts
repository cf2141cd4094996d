// The extension from its start to an applied program, with VS Code and the language client stood in for.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";

import { activate, deactivate } from "../src/extension.js";
import { Proposals, proposalUri } from "../src/proposals.js";
import { CANDIDATE, SOLVE, type SolveEvent } from "../src/protocol.js";
import { Solves } from "../src/solves.js";
import { answer, type LanguageClient, made } from "./languageclient.js";
import { recorded } from "./recorded.js";
import { edit, reset, seen, Uri } from "./vscode.js";

const manifest = JSON.parse(readFileSync("package.json", "utf8"));
let asked: [string, Record<string, unknown>][] = [];

async function start(): Promise<LanguageClient> {
  await activate({ subscriptions: [] } as never);
  const client = made.at(-1);
  assert.ok(client);
  return client;
}

function run(command: string, ...given: unknown[]): unknown {
  const work = seen.commands.get(command) as ((...all: unknown[]) => unknown) | undefined;
  assert.ok(work, `${command} is not registered`);
  return work(...given);
}

function tell(client: LanguageClient, events: SolveEvent[]): void {
  const handler = client.handlers.get("thresher/event") as unknown as (event: SolveEvent) => void;
  events.forEach((event) => handler(event));
}

beforeEach(() => {
  reset();
  asked = [];
  answer.startFails = false;
  answer.give = async (method, params) => {
    const given = params as Record<string, unknown>;
    asked.push([method, given]);
    return method === SOLVE ? recorded.result : recorded.candidates[given["candidate"] as number];
  };
  edit(recorded.uri, recorded.text, 3);
});

test("every command of the manifest exists, and the settings reach the server", async () => {
  seen.settings = { command: ["/venv/thresher", "lsp"], address: "unix:/s", tokenFile: "/t", samples: 4, model: "m" };
  const client = await start();
  const names = manifest.contributes.commands.map((one: { command: string }) => one.command);
  assert.deepEqual([...seen.commands.keys()].sort(), names.sort());
  assert.deepEqual(client.server, {
    command: "/venv/thresher",
    args: ["lsp", "--address", "unix:/s", "--token-file", "/t"],
  });
  assert.deepEqual(client.options.initializationOptions, {
    events: true,
    model: "m",
    k: 4,
    seconds: 120,
    inlineCompletion: true,
  });
  await deactivate();
  assert.equal(client.started, false);
});

test("a code action leads to a difference, and the difference to the edit", async () => {
  const client = await start();
  const where = { textDocument: { uri: recorded.uri }, position: { line: 0, character: 0 } };
  tell(client, recorded.events);
  await client.options.middleware.executeCommand("thresher.solve", [where], () => assert.fail("not by the server"));
  assert.deepEqual(asked, [[SOLVE, { ...where, apply: false }]]);
  const [[command, left, right, title] = []] = seen.executed;
  assert.equal(command, "vscode.diff");
  assert.equal(String(left), recorded.uri);
  assert.equal(title, "double: Thresher's program 1");
  assert.equal(seen.edits.length, 0);
  assert.deepEqual(seen.status, ["Thresher: double: solved by program 1"]);
  await run("thresher.applyProposal", right);
  assert.deepEqual(asked.at(-1), [CANDIDATE, { id: recorded.result.id, candidate: 1 }]);
  assert.equal(seen.edits[0]?.replaced[0]?.text, "    # shift\n    return n << 1\n");
  assert.deepEqual(seen.executed.at(-1), ["workbench.action.closeActiveEditor"]);
  assert.deepEqual([seen.errors, seen.warnings], [[], []]);
});

test("the right side of the difference is the file as it will be", async () => {
  const solves = new Solves(() => undefined);
  recorded.events.forEach((event) => solves.apply(event));
  const client = { sendRequest: (method: string, params: unknown) => answer.give(method, params) as never };
  const proposals = new Proposals(client, solves);
  const content = (number: number) =>
    proposals.provideTextDocumentContent(proposalUri("/f.py", recorded.result.id, number) as never);
  assert.equal(await content(1), recorded.solvedText);
  answer.give = async () => ({ program: "def g(): ...\n", edit: null, reason: "double is no longer in the file" });
  assert.equal(await content(0), "# double is no longer in the file\n\ndef g(): ...\n");
});

test("without the difference the program is applied at once", async () => {
  seen.settings = { diffBeforeApplying: false };
  await start();
  await run("thresher.solveFunction");
  assert.equal(seen.edits.length, 1);
  assert.deepEqual(seen.executed, []);
});

test("words go along, and none at all means that nothing is asked", async () => {
  await start();
  seen.answers.push("Use a shift.");
  await run("thresher.refineFunction");
  assert.equal(asked[0]?.[1]["feedback"], "Use a shift.");
  seen.answers.push(undefined);
  await run("thresher.refineFunction");
  assert.equal(asked.length, 1);
});

test("a missing server is explained once, with a way to start it", async () => {
  await start();
  answer.give = async () => {
    throw Object.assign(new Error("Start one in a terminal: thresher serve"), { data: { reason: "NO_SERVER" } });
  };
  seen.answers.push("Start it in a terminal");
  await run("thresher.solveFunction");
  assert.equal(seen.errors.length, 1);
  assert.deepEqual(seen.terminals, ["thresher serve"]);
});

test("what is stopped says nothing", async () => {
  await start();
  answer.give = async () => {
    run("thresher.stop");
    throw new Error("cancelled");
  };
  await run("thresher.solveFunction");
  assert.deepEqual([seen.errors, seen.status], [[], []]);
});

test("a language server that does not start is named", async () => {
  answer.startFails = true;
  await start();
  assert.match(seen.errors[0] ?? "", /`.*` does not start; is it installed \(pip install 'thresher\[lsp\]'\)/);
});

test("what is not a proposal is not applied", async () => {
  await start();
  await run("thresher.applyProposal", Uri.parse("file:///x.py"));
  assert.deepEqual(seen.edits, []);
});

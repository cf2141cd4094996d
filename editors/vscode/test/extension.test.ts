// The extension from its start to an applied program, with VS Code and the language client stood in for.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";

import { activate, deactivate } from "../src/extension.js";
import { Proposals, proposalUri } from "../src/proposals.js";
import { CANDIDATE, SOLVE, type SolveEvent } from "../src/protocol.js";
import { Solves } from "../src/solves.js";
import { answer, LanguageClient, made } from "./languageclient.js";
import { recorded } from "./recorded.js";
import { edit, reset, seen, Uri, workspace } from "./vscode.js";

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

function solvesOf(events: SolveEvent[]): Solves {
  const solves = new Solves(() => undefined);
  events.forEach((event) => solves.apply(event));
  return solves;
}

beforeEach(() => {
  reset();
  asked = [];
  answer.startFails = answer.stopFails = false;
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
  assert.deepEqual(asked, [[SOLVE, { ...where, apply: false, workDoneToken: "thresher-vscode-1" }]]);
  const [[command, left, right, title] = []] = seen.executed;
  assert.equal(command, "vscode.diff");
  assert.equal(String(left), recorded.uri);
  assert.equal(title, "double: Thresher's program 1");
  seen.documents.set(String(right), recorded.solvedText);
  assert.equal(seen.edits.length, 0);
  assert.deepEqual(seen.status, ["Thresher: double: solved by program 1"]);
  await run("thresher.applyProposal", right);
  assert.deepEqual(asked.at(-1), [CANDIDATE, { id: recorded.result.id, candidate: 1 }]);
  assert.equal(seen.edits[0]?.replaced[0]?.text, "    # shift\n    return n << 1\n");
  assert.deepEqual([seen.closed, seen.shown], [[String(right)], [recorded.uri]]);
  assert.deepEqual([seen.errors, seen.warnings], [[], []]);
});

test("the right side of the difference is the file as it will be", async () => {
  const solves = solvesOf(recorded.events);
  const client = new LanguageClient("", "", {}, {} as never);
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
  seen.settings = { address: "host:50051" };
  seen.answers.push("Start it in a terminal");
  await run("thresher.solveFunction");
  assert.equal(seen.errors.length, 2);
  assert.equal(seen.terminals.length, 1);
});

test("a program that does not pass is shown, and cannot be applied", async () => {
  const client = await start();
  tell(client, recorded.events);
  await run("thresher.solveFunction");
  await run("thresher.showCandidate", recorded.result.id, 0);
  const [, , right, title] = seen.executed.at(-1) ?? [];
  assert.equal(title, "double: Thresher's program 0, which does not pass");
  await run("thresher.applyProposal", right);
  assert.deepEqual(seen.edits, []);
});

test("a program that passed before its solve ended is not known to pass in the file", async () => {
  const client = await start();
  tell(client, recorded.events.slice(0, -1));
  await run("thresher.showCandidate", recorded.result.id, 1);
  assert.match(String(seen.executed.at(-1)?.[2]), /^thresher-program:/);
});

test("of two programs that passed, the one that passed in the file is shown", async () => {
  const client = await start();
  tell(client, recorded.events);
  const give = answer.give;
  const candidates = recorded.result.candidates.map((one) => ({ ...one, verdict: "passed" }));
  answer.give = async (method, params) => (method === SOLVE ? { ...recorded.result, candidates } : give(method, params));
  await run("thresher.solveFunction");
  assert.equal(seen.executed[0]?.[3], "double: Thresher's program 1");
});

test("a file that was edited meanwhile is left as it is", async () => {
  const client = await start();
  tell(client, recorded.events);
  seen.version = 2;
  await run("thresher.solveFunction");
  await run("thresher.applyProposal", seen.executed.at(-1)?.[2]);
  assert.deepEqual([seen.edits, seen.closed], [[], []]);
  assert.match(seen.warnings[0] ?? "", /edited meanwhile/);
});

test("a difference follows its file", async () => {
  const client = await start();
  tell(client, recorded.events);
  await run("thresher.solveFunction");
  const right = seen.executed.at(-1)?.[2];
  const proposals = new Proposals(client, solvesOf(recorded.events));
  const changed: string[] = [];
  proposals.onDidChange((uri) => void changed.push(String(uri)));
  workspace.textDocuments = [{ uri: Uri.parse(recorded.uri) }, { uri: right as Uri }];
  proposals.changed({ uri: Uri.parse(recorded.uri) } as never);
  proposals.changed({ uri: Uri.parse("file:///other.py") } as never);
  assert.deepEqual(changed, [String(right)]);
});

test("what the server says while it works is shown, and ends with the solve", async () => {
  const client = await start();
  const give = answer.give;
  answer.give = async (method, params) => {
    const { workDoneToken } = params as { workDoneToken: string };
    client.report(workDoneToken, { kind: "begin", title: "Thresher: double" });
    client.report(workDoneToken, { kind: "report", message: "2 programs" });
    client.report("another", { kind: "report", message: "not mine" });
    return give(method, params);
  };
  await run("thresher.solveFunction");
  assert.deepEqual(seen.progress, ["2 programs"]);
  assert.equal(client.reports.size, 0);
});

test("a solve is stopped by its token, all of them without one", async () => {
  const client = await start();
  const [started] = recorded.events;
  assert.ok(started?.kind === "started");
  tell(client, [
    { ...started, id: "a", workDoneToken: "one" },
    { ...started, id: "b", workDoneToken: "two" },
    { ...started, id: "c", workDoneToken: "three" },
    { id: "c", kind: "ended", message: "no program passed" },
  ]);
  await run("thresher.stop", { solve: { token: "one" } });
  await run("thresher.stop");
  const stop = "window/workDoneProgress/cancel";
  assert.deepEqual(
    client.told,
    ["one", "two", "one"].map((token) => [stop, { token }]),
  );
});

test("a changed setting of the server starts another, and the old solves are gone", async () => {
  const client = await start();
  tell(client, recorded.events);
  await seen.onSettings?.({ affectsConfiguration: (name) => name === "thresher.diffBeforeApplying" });
  assert.equal(made.at(-1), client);
  seen.settings = { samples: 3 };
  seen.onSettings?.({ affectsConfiguration: (name) => name === "thresher.samples" });
  await run("thresher.solveFunction");
  assert.deepEqual([asked.length, seen.errors, client.started], [1, [], false]);
  const next = made.at(-1);
  assert.ok(next !== undefined && next !== client && next.started);
  assert.equal((next.options.initializationOptions as { k: number }).k, 3);
  seen.executed.length = 0;
  await run("thresher.showCandidate", recorded.result.id, 1);
  assert.deepEqual(seen.executed, []);
});

test("a language server that died is started again", async () => {
  const client = await start();
  answer.stopFails = true;
  await run("thresher.restart");
  assert.ok(made.at(-1) !== client && made.at(-1)?.started);
  assert.match(seen.logged[0] ?? "", /can't be stopped/);
});

test("only files that can be edited are solved in, and told to the server", async () => {
  const client = await start();
  assert.deepEqual(client.options.documentSelector, [
    { language: "python", scheme: "file" },
    { language: "python", scheme: "untitled" },
  ]);
  edit("thresher-proposal:///home/me/double.py", recorded.text, 3);
  await run("thresher.solveFunction");
  assert.deepEqual(asked, []);
  assert.match(seen.warnings[0] ?? "", /a Python file/);
});

test("a language server that does not start is named, with a way to its setting", async () => {
  answer.startFails = true;
  seen.answers.push("Open Settings");
  const failed = await start();
  assert.deepEqual(failed.shown, []);
  assert.match(seen.errors[0] ?? "", /`.*` does not start; is it installed \(the extension's README says how\)/);
  assert.deepEqual(seen.executed, [["workbench.action.openSettings", "thresher.command"]]);
  await run("thresher.solveFunction");
  assert.match(seen.errors[1] ?? "", /does not run; see thresher.command/);
  answer.startFails = false;
  await run("thresher.restart");
  await run("thresher.solveFunction");
  assert.equal(asked.length, 1);
  made.at(-1)?.error("The server crashed 5 times", undefined, "force");
  assert.equal(made.at(-1)?.shown.length, 1);
});

test("what is not a proposal is not applied", async () => {
  await start();
  await run("thresher.applyProposal", Uri.parse("file:///x.py"));
  assert.deepEqual(seen.edits, []);
});

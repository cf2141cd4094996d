// Ties the language server to what VS Code shows: commands, the tree of solves, the differences.

import * as vscode from "vscode";

import { Asking } from "./asking.js";
import { Proposals, SCHEME, SHOWN_ONLY } from "./proposals.js";
import { SOLVE_COMMAND, type Where } from "./protocol.js";
import { concerns, Server } from "./server.js";
import { Solves } from "./solves.js";
import { type Node, SolveTree } from "./tree.js";

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const solves: Solves = new Solves(() => tree.refresh());
  const tree = new SolveTree(() => solves);
  const middleware = {
    // The server's command would apply what passes at once.
    executeCommand: (command: string, given: unknown[], next: (command: string, given: unknown[]) => unknown) =>
      command === SOLVE_COMMAND ? asking.solve(given[0] as Where) : next(command, given),
  };
  const started = new Server(
    middleware,
    () => solves.clear(),
    (event) => solves.apply(event),
  );
  const proposals = new Proposals(started, solves);
  const asking = new Asking(started, solves, proposals);
  server = started;
  context.subscriptions.push(
    started,
    tree,
    proposals,
    vscode.window.registerTreeDataProvider("thresher.solves", tree),
    ...[SCHEME, SHOWN_ONLY].map((scheme) => vscode.workspace.registerTextDocumentContentProvider(scheme, proposals)),
    vscode.workspace.onDidChangeTextDocument((event) => proposals.changed(event.document)),
    vscode.workspace.onDidChangeConfiguration((event) => (concerns(event) ? started.start() : undefined)),
    ...commands(started, asking, proposals),
  );
  await started.start();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

function commands(started: Server, asking: Asking, proposals: Proposals): vscode.Disposable[] {
  const { registerCommand } = vscode.commands;
  return [
    registerCommand("thresher.solveFunction", async () => {
      const where = here();
      return where && asking.solve(where);
    }),
    registerCommand("thresher.refineFunction", async () => {
      const where = here();
      const prompt = "What should be different? Empty: only what fails now is told.";
      const feedback = where && (await vscode.window.showInputBox({ title: "Thresher", prompt }));
      return where && feedback !== undefined ? asking.solve({ ...where, feedback }) : undefined;
    }),
    registerCommand("thresher.stop", (node?: Node) => asking.stop(node?.solve)),
    registerCommand("thresher.restart", () => started.start()),
    registerCommand("thresher.showCandidate", (solve: string, candidate: number) => proposals.show(solve, candidate)),
    registerCommand("thresher.applyProposal", (uri?: vscode.Uri) => {
      const shown = uri ?? vscode.window.activeTextEditor?.document.uri;
      return shown?.scheme === SCHEME ? proposals.apply(shown) : undefined;
    }),
  ];
}

/** Where the cursor is in a Python file that can be edited; says so where it is in no such file. */
function here(): Where | undefined {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python" || !["file", "untitled"].includes(editor.document.uri.scheme)) {
    void vscode.window.showWarningMessage("Thresher: put the cursor into a function of a Python file");
    return undefined;
  }
  const { line, character } = editor.selection.active;
  return { textDocument: { uri: editor.document.uri.toString() }, position: { line, character } };
}

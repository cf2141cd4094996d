// Starts the language server and puts its solves on the screen.

import * as vscode from "vscode";
import { LanguageClient, type LanguageClientOptions, type ServerOptions } from "vscode-languageclient/node";

import { Asking } from "./asking.js";
import { Proposals, SCHEME } from "./proposals.js";
import { EVENT, SOLVE_COMMAND, type SolveEvent, type Where } from "./protocol.js";
import { Solves } from "./solves.js";
import { SolveTree } from "./tree.js";

let client: LanguageClient | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const solves: Solves = new Solves(() => tree.refresh());
  const tree = new SolveTree(() => solves);
  const options: LanguageClientOptions = {
    documentSelector: [{ language: "python" }],
    initializationOptions: initializationOptions(),
    middleware: {
      // The server's command would apply what passes at once.
      executeCommand: (command, given, next) =>
        command === SOLVE_COMMAND ? asking.solve(given[0] as Where) : next(command, given),
    },
  };
  client = new LanguageClient("thresher", "Thresher", serverOptions(), options);
  const proposals = new Proposals(client, solves);
  const asking = new Asking(client, solves, proposals);
  context.subscriptions.push(
    vscode.window.registerTreeDataProvider("thresher.solves", tree),
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, proposals),
    client.onNotification(EVENT, (event: SolveEvent) => solves.apply(event)),
    ...commands(asking, proposals),
  );
  try {
    await client.start();
  } catch (error) {
    const command = settings().get<string[]>("command", []).join(" ");
    const advice = "is it installed (pip install 'thresher[lsp]'), and does thresher.command name it?";
    void vscode.window.showErrorMessage(`Thresher: \`${command}\` does not start; ${advice} (${String(error)})`);
  }
}

export async function deactivate(): Promise<void> {
  await client?.stop();
}

function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration("thresher");
}

/** How the language server is started. */
export function serverOptions(): ServerOptions {
  const [command = "thresher", ...given] = settings().get<string[]>("command", ["thresher", "lsp"]);
  const [address, tokenFile] = [settings().get("address", ""), settings().get("tokenFile", "")];
  const args = [...given, ...(address ? ["--address", address] : []), ...(tokenFile ? ["--token-file", tokenFile] : [])];
  return { command, args };
}

/** What the language server is told at its start. */
export function initializationOptions(): object {
  return {
    events: true,
    model: settings().get("model", ""),
    k: settings().get("samples", 16),
    seconds: settings().get("seconds", 120),
    inlineCompletion: settings().get("inlineCompletion", true),
  };
}

function commands(asking: Asking, proposals: Proposals): vscode.Disposable[] {
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
    registerCommand("thresher.stop", () => asking.stop()),
    registerCommand("thresher.showCandidate", (solve: string, candidate: number) => proposals.show(solve, candidate)),
    registerCommand("thresher.applyProposal", (uri?: vscode.Uri) => {
      const shown = uri ?? vscode.window.activeTextEditor?.document.uri;
      return shown?.scheme === SCHEME ? proposals.apply(shown) : undefined;
    }),
  ];
}

/** Where the cursor is in a Python file. */
function here(): Where | undefined {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python") {
    return undefined;
  }
  const { line, character } = editor.selection.active;
  return { textDocument: { uri: editor.document.uri.toString() }, position: { line, character } };
}

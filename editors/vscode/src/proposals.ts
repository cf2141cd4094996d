// Programs shown as a difference to the file, and applied from there.

import * as vscode from "vscode";
import type { TextDocumentEdit, TextEdit, WorkspaceEdit } from "vscode-languageclient";

import { CANDIDATE, type CandidateResult, type Requests } from "./protocol.js";
import type { Solves } from "./solves.js";

export const SCHEME = "thresher-proposal";

/** What stands behind the right side of a difference: `?` holds the solve and the program. */
export function proposalUri(path: string, solve: string, candidate: number): vscode.Uri {
  return vscode.Uri.from({ scheme: SCHEME, path, query: `${solve}/${candidate}` });
}

export class Proposals implements vscode.TextDocumentContentProvider {
  constructor(
    private readonly client: Requests,
    private readonly solves: Solves,
  ) {}

  /** The file as it would be. */
  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const [solve, candidate] = parts(uri);
    const result = await this.candidate(solve, candidate);
    const target = this.solves.find(solve);
    if (result.edit === null || target === undefined) {
      return `# ${result.reason}\n\n${result.program}`;
    }
    const document = await vscode.workspace.openTextDocument(vscode.Uri.parse(target.uri));
    return editsOf(result.edit).reduce((text, edit) => withEdit(document, text, edit), document.getText());
  }

  /** Opens the difference between the file and the file with that program in it. */
  async show(solve: string, candidate: number): Promise<void> {
    const target = this.solves.find(solve);
    if (target === undefined) {
      return;
    }
    const file = vscode.Uri.parse(target.uri);
    const title = `${target.function}: Thresher's program ${candidate}`;
    await vscode.commands.executeCommand("vscode.diff", file, proposalUri(file.path, solve, candidate), title);
  }

  /** Puts the program of a difference into its file, as that is now, and closes the difference. */
  async apply(uri: vscode.Uri): Promise<void> {
    const [solve, candidate] = parts(uri);
    const result = await this.candidate(solve, candidate);
    if (result.edit === null) {
      void vscode.window.showWarningMessage(`Thresher: ${result.reason}`);
      return;
    }
    await applyEdit(result.edit);
    await vscode.commands.executeCommand("workbench.action.closeActiveEditor");
  }

  private candidate(id: string, candidate: number): Promise<CandidateResult> {
    return this.client.sendRequest<CandidateResult>(CANDIDATE, { id, candidate });
  }
}

/** Applies an edit of one file. */
export async function applyEdit(edit: WorkspaceEdit): Promise<void> {
  const changes = new vscode.WorkspaceEdit();
  for (const change of (edit.documentChanges ?? []) as TextDocumentEdit[]) {
    for (const one of change.edits as TextEdit[]) {
      changes.replace(vscode.Uri.parse(change.textDocument.uri), rangeOf(one), one.newText);
    }
  }
  await vscode.workspace.applyEdit(changes);
}

function parts(uri: vscode.Uri): [string, number] {
  const [solve = "", candidate = ""] = uri.query.split("/");
  return [solve, Number(candidate)];
}

function editsOf(edit: WorkspaceEdit): TextEdit[] {
  return ((edit.documentChanges ?? []) as TextDocumentEdit[]).flatMap((change) => change.edits as TextEdit[]);
}

function rangeOf(edit: TextEdit): vscode.Range {
  const { start, end } = edit.range;
  return new vscode.Range(start.line, start.character, end.line, end.character);
}

// The server sends one edit for a function, so that no edit moves another's place.
function withEdit(document: vscode.TextDocument, text: string, edit: TextEdit): string {
  const range = rangeOf(edit);
  return text.slice(0, document.offsetAt(range.start)) + edit.newText + text.slice(document.offsetAt(range.end));
}

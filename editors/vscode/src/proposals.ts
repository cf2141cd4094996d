// Programs shown as a difference to the file, and applied from there.

import * as vscode from "vscode";
import type { TextDocumentEdit, TextEdit, WorkspaceEdit } from "vscode-languageclient";

import { CANDIDATE, type CandidateResult, type Requests } from "./protocol.js";
import type { Solves } from "./solves.js";

/** The right side of a difference whose program has passed and may be applied. */
export const SCHEME = "thresher-proposal";

/** The same of any other program: to be looked at only, for what fails is not put into a file. */
export const SHOWN_ONLY = "thresher-program";

/** What stands behind the right side of a difference: `?` holds the solve and the program. */
export function proposalUri(path: string, solve: string, candidate: number, scheme = SCHEME): vscode.Uri {
  return vscode.Uri.from({ scheme, path, query: `${solve}/${candidate}` });
}

export class Proposals implements vscode.TextDocumentContentProvider, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.#changed.event;

  constructor(
    private readonly client: Pick<Requests, "sendRequest">,
    private readonly solves: Solves,
  ) {}

  dispose(): void {
    this.#changed.dispose();
  }

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

  /** A file was edited: the right sides of its differences follow. */
  changed(document: vscode.TextDocument): void {
    const file = document.uri.toString();
    for (const { uri } of vscode.workspace.textDocuments) {
      if ([SCHEME, SHOWN_ONLY].includes(uri.scheme) && this.solves.find(parts(uri)[0])?.uri === file) {
        this.#changed.fire(uri);
      }
    }
  }

  /** Opens the difference between the file and the file with that program in it. */
  async show(solve: string, candidate: number): Promise<void> {
    const target = this.solves.find(solve);
    if (target === undefined) {
      return;
    }
    const file = vscode.Uri.parse(target.uri);
    const passed = candidate === target.winner;
    const right = proposalUri(file.path, solve, candidate, passed ? SCHEME : SHOWN_ONLY);
    const title = `${target.function}: Thresher's program ${candidate}${passed ? "" : ", which does not pass"}`;
    await vscode.commands.executeCommand("vscode.diff", file, right, title);
  }

  /** Puts the program of a difference into its file, as that is now, closes the difference and shows the file. */
  async apply(uri: vscode.Uri): Promise<void> {
    const [solve, candidate] = parts(uri);
    const result = await this.candidate(solve, candidate);
    if (result.edit === null) {
      void vscode.window.showWarningMessage(`Thresher: ${result.reason}`);
      return;
    }
    const file = await applyEdit(result.edit);
    if (file !== undefined) {
      await vscode.window.tabGroups.close(tabsOf(uri));
      await vscode.window.showTextDocument(file);
    }
  }

  private candidate(id: string, candidate: number): Promise<CandidateResult> {
    return this.client.sendRequest<CandidateResult>(CANDIDATE, { id, candidate });
  }
}

/** Applies an edit of one file, and gives the file; says so where it is not the file any more that the edit is for. */
export async function applyEdit(edit: WorkspaceEdit): Promise<vscode.Uri | undefined> {
  const changes = new vscode.WorkspaceEdit();
  let file: vscode.Uri | undefined;
  let fits = true;
  for (const change of changesOf(edit)) {
    file = vscode.Uri.parse(change.textDocument.uri);
    const { version } = await vscode.workspace.openTextDocument(file);
    fits &&= change.textDocument.version === null || change.textDocument.version === version;
    for (const one of change.edits as TextEdit[]) {
      changes.replace(file, rangeOf(one), one.newText);
    }
  }
  if (fits && (await vscode.workspace.applyEdit(changes))) {
    return file;
  }
  void vscode.window.showWarningMessage("Thresher: the file was edited meanwhile; the program was not put into it");
  return undefined;
}

function parts(uri: vscode.Uri): [string, number] {
  const [solve = "", candidate = ""] = uri.query.split("/");
  return [solve, Number(candidate)];
}

function tabsOf(right: vscode.Uri): vscode.Tab[] {
  const all = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
  return all.filter(({ input }) => input instanceof vscode.TabInputTextDiff && String(input.modified) === String(right));
}

function changesOf(edit: WorkspaceEdit): TextDocumentEdit[] {
  return (edit.documentChanges ?? []) as TextDocumentEdit[];
}

function editsOf(edit: WorkspaceEdit): TextEdit[] {
  return changesOf(edit).flatMap((change) => change.edits as TextEdit[]);
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

// Stands in for VS Code: what the extension uses of it, with what was done kept in `seen`.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const seen = {
  commands: new Map<string, (...given: never[]) => unknown>(),
  executed: [] as unknown[][],
  errors: [] as string[],
  warnings: [] as string[],
  status: [] as string[],
  edits: [] as WorkspaceEdit[],
  terminals: [] as string[],
  settings: {} as Record<string, unknown>,
  answers: [] as (string | undefined)[],
  documents: new Map<string, string>(),
  closed: [] as string[],
  shown: [] as string[],
  progress: [] as string[],
  logged: [] as string[],
  version: 1,
  onSettings: undefined as ((event: { affectsConfiguration: (name: string) => boolean }) => unknown) | undefined,
};

export class Uri {
  constructor(
    readonly scheme: string,
    readonly path: string,
    readonly query: string,
  ) {}

  static from(parts: { scheme: string; path: string; query?: string }): Uri {
    return new Uri(parts.scheme, parts.path, parts.query ?? "");
  }

  static parse(text: string): Uri {
    const url = new URL(text);
    return new Uri(url.protocol.slice(0, -1), decodeURIComponent(url.pathname), url.search.slice(1));
  }

  toString(): string {
    return `${this.scheme}://${this.path}${this.query && `?${this.query}`}`;
  }
}

export class Position {
  constructor(
    readonly line: number,
    readonly character: number,
  ) {}
}

export class Range {
  readonly start: Position;
  readonly end: Position;

  constructor(line: number, character: number, endLine: number, endCharacter: number) {
    this.start = new Position(line, character);
    this.end = new Position(endLine, endCharacter);
  }
}

export class WorkspaceEdit {
  readonly replaced: { uri: string; range: Range; text: string }[] = [];

  replace(uri: Uri, range: Range, text: string): void {
    this.replaced.push({ uri: uri.toString(), range, text });
  }
}

export class EventEmitter<T> {
  readonly #listeners: ((value: T) => unknown)[] = [];
  readonly event = (listener: (value: T) => unknown): void => void this.#listeners.push(listener);

  fire(value: T): void {
    for (const listener of this.#listeners) {
      listener(value);
    }
  }

  dispose(): void {
    this.#listeners.length = 0;
  }
}

export class ThemeColor {
  constructor(readonly id: string) {}
}

export class ThemeIcon {
  constructor(
    readonly id: string,
    readonly color?: ThemeColor,
  ) {}
}

export class TabInputTextDiff {
  constructor(
    readonly original: Uri,
    readonly modified: Uri,
  ) {}
}

export enum TreeItemCollapsibleState {
  None,
  Collapsed,
  Expanded,
}

export enum ProgressLocation {
  Window = 10,
}

export class TreeItem {
  [key: string]: unknown;

  constructor(
    readonly label: string,
    readonly collapsibleState: TreeItemCollapsibleState,
  ) {}
}

class Document {
  readonly languageId = "python";
  readonly version = seen.version;

  constructor(
    readonly uri: Uri,
    private readonly text: string,
  ) {}

  getText(): string {
    return this.text;
  }

  offsetAt(position: Position): number {
    const lines = this.text.split("\n").slice(0, position.line);
    return lines.reduce((sum, line) => sum + line.length + 1, 0) + position.character;
  }
}

export const window = {
  activeTextEditor: undefined as unknown,
  setStatusBarMessage: (text: string) => void seen.status.push(text),
  showErrorMessage: async (text: string) => (seen.errors.push(text), seen.answers.shift()),
  showWarningMessage: async (text: string) => void seen.warnings.push(text),
  showInputBox: async () => seen.answers.shift(),
  withProgress: (_: unknown, work: (progress: { report(value: { message: string }): void }) => unknown) =>
    work({ report: ({ message }) => void seen.progress.push(message) }),
  createOutputChannel: () => ({ warn: (text: string) => void seen.logged.push(text), dispose: () => undefined }),
  registerTreeDataProvider: () => ({}),
  showTextDocument: async (uri: Uri) => void seen.shown.push(String(uri)),
  tabGroups: {
    get all(): object[] {
      const tabs = seen.executed
        .filter(([command]) => command === "vscode.diff")
        .map(([, left, right]) => ({ input: new TabInputTextDiff(left as Uri, right as Uri) }));
      return [{ tabs: [...tabs, { input: undefined }] }];
    },
    close: async (tabs: { input: TabInputTextDiff }[]) =>
      void seen.closed.push(...tabs.map((tab) => String(tab.input.modified))),
  },
  createTerminal: () => ({ show: () => undefined, sendText: (text: string) => void seen.terminals.push(text) }),
};

export const commands = {
  registerCommand: (name: string, work: () => unknown) => (seen.commands.set(name, work), {}),
  executeCommand: async (...given: unknown[]) => void seen.executed.push(given),
};

export const workspace = {
  getConfiguration: () => ({ get: (name: string, usual: unknown) => seen.settings[name] ?? usual }),
  textDocuments: [] as { uri: Uri }[],
  registerTextDocumentContentProvider: () => ({}),
  onDidChangeTextDocument: () => ({}),
  onDidChangeConfiguration: (handler: typeof seen.onSettings) => ((seen.onSettings = handler), {}),
  applyEdit: async (edit: WorkspaceEdit) => seen.edits.push(edit) > 0,
  openTextDocument: async (uri: Uri) => {
    const text = seen.documents.get(uri.toString());
    return new Document(uri, text ?? readFileSync(fileURLToPath(uri.toString()), "utf8"));
  },
};

/** Shows a file, with the cursor at a line. */
export function edit(uri: string, text: string, line: number): void {
  seen.documents.set(uri, text);
  window.activeTextEditor = { document: new Document(Uri.parse(uri), text), selection: { active: new Position(line, 0) } };
}

/** Forgets what was seen. */
export function reset(): void {
  for (const kept of Object.values(seen)) {
    if (Array.isArray(kept)) {
      kept.length = 0;
    }
  }
  seen.settings = {};
  seen.version = 1;
  workspace.textDocuments = [];
  window.activeTextEditor = undefined;
}

// The tree of solves: below each its programs with their verdicts, the best first.

import * as vscode from "vscode";

import type { Candidate } from "./protocol.js";
import type { Solve, Solves } from "./solves.js";

/** A solve, or one of its programs. */
export type Node = { solve: Solve; candidate?: Candidate };

export class SolveTree implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.#changed.event;

  constructor(private readonly solves: () => Solves) {}

  refresh(): void {
    this.#changed.fire(undefined);
  }

  dispose(): void {
    this.#changed.dispose();
  }

  getChildren(node?: Node): Node[] {
    if (node === undefined) {
      return this.solves().all.map((solve) => ({ solve }));
    }
    if (node.candidate !== undefined) {
      return [];
    }
    const order = [...node.solve.candidates].sort((a, b) => rank(a) - rank(b) || b.passed - a.passed || a.index - b.index);
    return order.map((candidate) => ({ solve: node.solve, candidate }));
  }

  getTreeItem(node: Node): vscode.TreeItem {
    return node.candidate === undefined ? solveItem(node.solve) : candidateItem(node.solve, node.candidate);
  }
}

const ICONS: Record<string, [string, string?]> = {
  passed: ["pass", "testing.iconPassed"],
  "": ["watch"],
  skipped: ["debug-step-over"],
};

function icon(name: string, color?: string): vscode.ThemeIcon {
  return new vscode.ThemeIcon(name, color === undefined ? undefined : new vscode.ThemeColor(color));
}

function rank(candidate: Candidate): number {
  return candidate.verdict === "passed" ? 0 : 1;
}

function solveItem(solve: Solve): vscode.TreeItem {
  const { Expanded, None } = vscode.TreeItemCollapsibleState;
  const item = new vscode.TreeItem(solve.function, solve.running || solve.candidates.length > 0 ? Expanded : None);
  item.id = solve.id;
  item.description = solve.message;
  item.tooltip = `${solve.function}: ${solve.message}`;
  item.contextValue = solve.running ? "running" : "ended";
  item.iconPath = solve.running
    ? icon("sync~spin")
    : solve.winner === null
      ? icon("circle-slash")
      : icon("pass", "testing.iconPassed");
  return item;
}


function candidateItem(solve: Solve, candidate: Candidate): vscode.TreeItem {
  const item = new vscode.TreeItem(`program ${candidate.index}`, vscode.TreeItemCollapsibleState.None);
  const verdict = candidate.verdict.replaceAll("_", " ") || "being judged";
  const tests = candidate.verdict === "" ? "" : ` (${candidate.passed} of ${candidate.total})`;
  item.id = `${solve.id}/${candidate.index}`;
  item.description = `${verdict}${tests}${candidate.message === "" ? "" : `: ${candidate.message}`}`;
  item.tooltip = candidate.samples > 1 ? `${item.description}\ndrawn ${candidate.samples} times` : item.description;
  item.iconPath = icon(...(ICONS[candidate.verdict] ?? (["error", "testing.iconFailed"] as const)));
  if (candidate.verdict !== "") {
    item.command = { command: "thresher.showCandidate", title: "Show Program", arguments: [solve.id, candidate.index] };
  }
  return item;
}

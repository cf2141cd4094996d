// The requests and events that the language server has of its own (docs/editors.md).

import type { WorkspaceEdit } from "vscode-languageclient";

export const SOLVE = "thresher/solve";
export const CANDIDATE = "thresher/candidate";
export const EVENT = "thresher/event";

/** The command that the server's code actions name. */
export const SOLVE_COMMAND = "thresher.solve";

/** Which function is to be solved. */
export interface Where {
  textDocument: { uri: string };
  position: { line: number; character: number };
  feedback?: string;
}

/** A program that was drawn. `verdict` is empty until it has one. */
export interface Candidate {
  index: number;
  samples: number;
  verdict: string;
  passed: number;
  total: number;
  message: string;
}

/** A test that programs failed. */
export interface Failure {
  message: string;
  programs: number;
  test: string;
  uri: string;
  line: number;
}

/** A test that was found and not used. */
export interface LeftOut {
  name: string;
  reason: string;
  uri: string;
  line: number;
}

/** What a solve came to. */
export interface SolveResult {
  id: string;
  function: string;
  outcome: string;
  message: string;
  program: string | null;
  edit: WorkspaceEdit | null;
  applied: boolean;
  candidates: Candidate[];
  failures: Failure[];
  tests: number;
  leftOut: LeftOut[];
}

/** A program of a solve, and the edit that puts it in the function's place; without one `reason` says why. */
export interface CandidateResult {
  program: string;
  edit: WorkspaceEdit | null;
  reason: string;
}

/** What happens in a solve. */
export type SolveEvent =
  | { id: string; kind: "started"; uri: string; function: string; tests: number }
  | { id: string; kind: "waiting"; message: string }
  | { id: string; kind: "candidate"; candidate: Candidate }
  | { id: string; kind: "ended"; message: string };

/** The part of the language client that is used here. */
export interface Requests {
  sendRequest<T>(method: string, params: unknown, token?: unknown): Promise<T>;
}

// The requests and events that the language server has of its own (docs/editors.md).

import type { WorkspaceEdit } from "vscode-languageclient";

export const SOLVE = "thresher/solve";
export const CANDIDATE = "thresher/candidate";
export const EVENT = "thresher/event";

/** Of the Language Server Protocol: ends the work of a token. */
export const STOP = "window/workDoneProgress/cancel";

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

/** What a solve came to. `candidate` is the index of the program that passed all tests in its place in the file. */
export interface SolveResult {
  id: string;
  function: string;
  outcome: string;
  message: string;
  program: string | null;
  candidate: number | null;
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
  | { id: string; kind: "started"; uri: string; function: string; tests: number; workDoneToken: string | null }
  | { id: string; kind: "waiting"; message: string }
  | { id: string; kind: "candidate"; candidate: Candidate }
  | { id: string; kind: "ended"; message: string };

/** What the rest asks the language server by. */
export interface Requests {
  sendRequest<T>(method: string, params: unknown): Promise<T>;
  sendNotification(method: string, params: unknown): Promise<void>;
  /** What is said of the work of a token, until disposed. */
  onProgress(token: string, report: (message: string) => void): Promise<{ dispose(): void }>;
}

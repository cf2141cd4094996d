// A solve as the real language server told it. tests/editors/test_vscode.py compares the record with what it says today.

import { readFileSync } from "node:fs";

import type { CandidateResult, SolveEvent, SolveResult } from "../src/protocol.js";

export interface Recorded {
  uri: string;
  text: string;
  solvedText: string;
  events: SolveEvent[];
  result: SolveResult;
  candidates: CandidateResult[];
}

export const recorded = JSON.parse(readFileSync("test/recorded.json", "utf8")) as Recorded;

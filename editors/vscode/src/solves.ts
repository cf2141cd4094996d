// What is known of the solves of this session: fed by events, read by the tree.

import type { Candidate, SolveEvent, SolveResult } from "./protocol.js";

const KEPT = 20;

/**
 * A solve: of which function, how far it is, and what it drew. `winner` is the index of the program that passed all tests in
 * its place in the file: no other may be put there.
 */
export interface Solve {
  id: string;
  token: string | null;
  uri: string;
  function: string;
  running: boolean;
  message: string;
  winner: number | null;
  candidates: Candidate[];
}

/** The solves, the newest first. `onChange` is called after each change. */
export class Solves {
  readonly all: Solve[] = [];

  constructor(private readonly onChange: () => void) {}

  find(id: string): Solve | undefined {
    return this.all.find((one) => one.id === id);
  }

  clear(): void {
    this.all.length = 0;
    this.onChange();
  }

  apply(event: SolveEvent): void {
    if (event.kind === "started") {
      this.all.unshift({
        id: event.id,
        token: event.workDoneToken,
        uri: event.uri,
        function: event.function,
        running: true,
        message: `${event.tests} ${event.tests === 1 ? "test" : "tests"}`,
        winner: null,
        candidates: [],
      });
      this.all.splice(KEPT);
    }
    const solve = this.find(event.id);
    if (solve === undefined) {
      return;
    }
    if (event.kind === "candidate") {
      const place = solve.candidates.findIndex((one) => one.index === event.candidate.index);
      solve.candidates.splice(place < 0 ? solve.candidates.length : place, 1, event.candidate);
      solve.message = progress(solve.candidates);
    } else if (event.kind !== "started") {
      solve.message = event.message;
      solve.running = event.kind !== "ended";
    }
    this.onChange();
  }

  /** The result has what came too late for an event. */
  finish(result: SolveResult): void {
    const solve = this.find(result.id);
    if (solve !== undefined) {
      Object.assign(solve, { running: false, winner: result.candidate, message: result.message });
      solve.candidates = result.candidates;
      this.onChange();
    }
  }
}

function progress(candidates: Candidate[]): string {
  const judged = candidates.filter((one) => one.verdict !== "").length;
  return `${candidates.length} ${candidates.length === 1 ? "program" : "programs"}, ${judged} judged`;
}

// Thresher's client for Node: `Client`, the messages of thresher.v1, and what can go wrong.

export { Client, type Options, SolveStream } from "./client.js";
export { ThresherError } from "./errors.js";
export { type Endpoint, findServer } from "./server.js";
export { Program } from "./generated/thresher/v1/execution_service.js";
export { type Problem, type Test } from "./generated/thresher/v1/problem.js";
export {
  type Candidate,
  ReturnPolicy,
  SolveEvent,
  SolveOutcome,
  SolveSpec,
  type Summary,
} from "./generated/thresher/v1/solve.js";
export { type ExecutionReport, Verdict } from "./generated/thresher/v1/verdict.js";

// Solves a problem, shows its events as they come, and cancels: `npm run solve -- [address] [--cancel-after n]`.
//
// Exit code 0: solved, or cancelled as asked. 1: not solved. 3: the call failed.

import { parseArgs } from "node:util";

import { Client, SolveOutcome, ThresherError, Verdict } from "../src/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { "cancel-after": { type: "string", default: "0" } },
});
const cancelAfter = Number(values["cancel-after"]);

async function main(): Promise<number> {
  const client = new Client(positionals[0]);
  const tests = ["assert median([3, 1, 2]) == 2", "assert median([4, 1, 2, 3]) == 2.5"];
  const task = "Write a Python function median(numbers) that returns the median of a list of numbers.";
  const stream = client.solve(
    {
      problem: {
        entryPoint: "median",
        prompt: {
          $case: "chat",
          value: { messages: [{ role: "user", content: `${task} It must pass:\n${tests.join("\n")}` }] },
        },
        tests: tests.map((code) => ({ kind: { $case: "snippet", value: { code } } })),
      },
      sampling: { k: 16 },
    },
    { timeout: 120_000 },
  );
  let seen = 0;
  try {
    for await (const { event, sequence } of stream) {
      seen += 1;
      const judged = event?.$case === "candidateJudged" ? event.value.candidate : undefined;
      console.log(String(sequence), event?.$case, judged === undefined ? "" : judged.report?.verdict);
      if (seen === cancelAfter) {
        stream.cancel(); // what it holds on the server is free at the next step
      }
    }
  } finally {
    client.close();
  }
  if (cancelAfter > 0) {
    console.log("cancelled");
    return 0;
  }
  const summary = stream.summary;
  const winner = summary?.candidates.find((one) => one.report?.verdict === Verdict.VERDICT_PASSED);
  console.log(winner?.code ?? `not solved: ${summary?.outcome}`);
  return summary?.outcome === SolveOutcome.SOLVE_OUTCOME_SOLVED ? 0 : 1;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const reason = error instanceof ThresherError ? `${error.code} ${error.reason}: ${error.message}` : String(error);
    console.error(`thresher: ${reason}`);
    process.exitCode = 3;
  },
);

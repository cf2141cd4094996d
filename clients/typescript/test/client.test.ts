// Against a server of grpc-js in this process: what the client sends, and what it makes of what comes.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { Metadata, Server, ServerCredentials, type ServerWritableStream, status } from "@grpc/grpc-js";

import { reasonOf } from "../src/errors.js";
import { type SolveRequest, type SolveResponse, SynthesisServiceService } from "../src/generated/thresher/v1/synthesis_service.js";
import { Client, SolveEvent, SolveOutcome, ThresherError } from "../src/index.js";

type Call = ServerWritableStream<SolveRequest, SolveResponse>;

const address = `unix:${join(mkdtempSync(join(tmpdir(), "thr-")), "s")}`;
const server = new Server();
let play: (call: Call) => void;
let authorization: unknown[] = [];

function event(sequence: bigint, body: SolveEvent["event"]): SolveResponse {
  return { event: SolveEvent.fromPartial({ sequence, event: body }) };
}

const accepted: SolveEvent["event"] = {
  $case: "accepted",
  value: { requestId: "r", model: "models/fake", queueDepth: 0, promptTokens: 3, seed: 18446744073709551615n },
};

function summary(outcome: SolveOutcome): SolveResponse {
  return { event: SolveEvent.fromPartial({ sequence: 2n, event: { $case: "summary", value: { outcome } } }) };
}

before(async () => {
  server.addService(SynthesisServiceService, {
    solve: (call: Call) => {
      authorization = call.metadata.get("authorization");
      play(call);
    },
    solveOnce: () => assert.fail("nobody calls this"),
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
  });
});

after(() => server.forceShutdown());

beforeEach(() => {
  play = (call) => {
    call.write(event(1n, accepted));
    call.write(summary(SolveOutcome.SOLVE_OUTCOME_SOLVED));
    call.end();
  };
});

test("events come in order, the summary last, 64-bit numbers whole", async () => {
  const client = new Client(address, "secret");
  const stream = client.solve({ sampling: { k: 2 } });
  const kinds: unknown[] = [];
  for await (const one of stream) {
    kinds.push(one.event?.$case);
    if (one.event?.$case === "accepted") {
      assert.equal(one.event.value.seed, 18446744073709551615n);
    }
  }
  assert.deepEqual(kinds, ["accepted", "summary"]);
  assert.equal(stream.summary?.outcome, SolveOutcome.SOLVE_OUTCOME_SOLVED);
  assert.deepEqual(authorization, ["Bearer secret"]);
  client.close();
});

for (const how of ["cancel", "signal", "break"]) {
  test(`a solve is cancelled by ${how}`, async () => {
    const cancelled = new Promise<void>((resolve) => {
      play = (call) => {
        call.on("cancelled", resolve);
        call.write(event(1n, accepted));
      };
    });
    const client = new Client(address);
    const stop = new AbortController();
    const stream = client.solve({}, { signal: stop.signal });
    for await (const _ of stream) {
      if (how === "break") {
        break;
      } else if (how === "cancel") {
        stream.cancel();
      } else {
        stop.abort();
      }
    }
    await cancelled;
    client.close();
  });
}

test("a signal of many calls keeps none of them", async () => {
  const client = new Client(address);
  const stop = new AbortController();
  for (let round = 0; round < 20; round++) {
    for await (const _ of client.solve({}, { signal: stop.signal }));
    await assert.rejects(client.execute({}, { signal: stop.signal }));
  }
  assert.equal(getEventListeners(stop.signal, "abort").length, 0);
  client.close();
});

test("a deadline is an error", async () => {
  play = (call) => call.write(event(1n, accepted));
  const client = new Client(address);
  await assert.rejects(
    async () => {
      for await (const _ of client.solve({}, { timeout: 200 }));
    },
    (error: ThresherError) => error.code === "DEADLINE_EXCEEDED",
  );
  client.close();
});

test("a stream without a summary is an error", async () => {
  play = (call) => call.end();
  const client = new Client(address);
  await assert.rejects(
    async () => {
      for await (const _ of client.solve({}));
    },
    (error: ThresherError) => error.reason === "NO_SUMMARY",
  );
  client.close();
});

// google.rpc.Status{code: 8, message: "m", details: [RetryInfo{}, ErrorInfo{reason: "QUEUE_FULL", domain: "thresher"}]}
const PACKED = Buffer.from(
  "080812016d1a2a0a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e5265747279496e666f" +
    "1a420a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e4572726f72496e666f" +
    "12160a0a51554555455f46554c4c12087468726573686572",
  "hex",
);

test("the server's reason is read from the details", async () => {
  play = (call) => {
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", PACKED);
    call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "256 solves are waiting", metadata });
  };
  const client = new Client(address);
  await assert.rejects(
    async () => {
      for await (const _ of client.solve({}));
    },
    (error: ThresherError) => error.reason === "QUEUE_FULL" && error.message === "256 solves are waiting",
  );
  client.close();
  assert.equal(reasonOf(PACKED.subarray(0, 50)), "");
});

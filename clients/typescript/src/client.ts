// The client: a solve as an async iterable that can be cancelled, and the unary calls as promises.

import {
  type CallOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";

import { fromService, ThresherError } from "./errors.js";
import {
  type DeepPartial as DeepPartialProgram,
  ExecutionServiceClient,
  Program,
} from "./generated/thresher/v1/execution_service.js";
import { type GetServerInfoResponse, InfoServiceClient } from "./generated/thresher/v1/info_service.js";
import { type DeepPartial, type SolveEvent, SolveSpec, type Summary } from "./generated/thresher/v1/solve.js";
import {
  type SolveOnceResponse,
  type SolveResponse,
  SynthesisServiceClient,
} from "./generated/thresher/v1/synthesis_service.js";
import type { ExecutionReport } from "./generated/thresher/v1/verdict.js";
import { type Endpoint, findServer } from "./server.js";

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

// Solve is not among them: a stream cannot be taken up again after its first message.
const SERVICE_CONFIG = JSON.stringify({
  methodConfig: [
    {
      name: [
        { service: "thresher.v1.SynthesisService", method: "SolveOnce" },
        { service: "thresher.v1.ExecutionService", method: "Execute" },
        { service: "thresher.v1.InfoService" },
      ],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.2s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
});

/** How long a call may take, in milliseconds, and what ends it early. */
export interface Options {
  timeout?: number;
  signal?: AbortSignal;
}

/** The events of one solve. Leaving the loop over them, `cancel()` and the signal end the solve on the server. */
export class SolveStream implements AsyncIterable<SolveEvent> {
  /** The last event, once it has come. */
  summary: Summary | undefined;
  #cancelled = false;

  constructor(
    private readonly call: ClientReadableStream<SolveResponse>,
    signal?: AbortSignal,
  ) {
    // Until somebody iterates, an error has no other listener and would end the process.
    call.on("error", () => undefined);
    call.once("status", onAbort(signal, () => this.cancel()));
  }

  /** Ends the solve: rows, queued programs and sandboxes. The loop over the events then just stops. */
  cancel(): void {
    this.#cancelled = true;
    this.call.cancel();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SolveEvent> {
    try {
      for await (const response of this.call as AsyncIterable<SolveResponse>) {
        const event = response.event;
        if (event === undefined) {
          continue;
        }
        if (event.event?.$case === "summary") {
          this.summary = event.event.value;
        }
        yield event;
      }
    } catch (error) {
      if (this.#cancelled && (error as ServiceError).code === status.CANCELLED) {
        return;
      }
      throw fromService(error as ServiceError);
    } finally {
      this.call.cancel();
    }
    if (this.summary === undefined && !this.#cancelled) {
      throw new ThresherError("INTERNAL", "NO_SUMMARY", "the stream ended well but without a summary");
    }
  }
}

/** A connection to a server. Close it when done. */
export class Client {
  readonly endpoint: Endpoint;
  readonly #synthesis: SynthesisServiceClient;
  readonly #execution: ExecutionServiceClient;
  readonly #info: InfoServiceClient;

  /** `address` and `token` are found as `findServer` says. */
  constructor(address?: string, token?: string) {
    this.endpoint = findServer(address, token);
    const options = {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.service_config": SERVICE_CONFIG,
    };
    const { target } = this.endpoint;
    this.#synthesis = new SynthesisServiceClient(target, credentials.createInsecure(), options);
    this.#execution = new ExecutionServiceClient(target, credentials.createInsecure(), options);
    this.#info = new InfoServiceClient(target, credentials.createInsecure(), options);
  }

  /** Starts a solve; its events come as the server makes them. */
  solve(spec: DeepPartial<SolveSpec>, options: Options = {}): SolveStream {
    const request = { spec: SolveSpec.fromPartial(spec) };
    return new SolveStream(this.#synthesis.solve(request, this.#metadata(), deadline(options)), options.signal);
  }

  /** Runs a solve to its end; retried while the server cannot be reached. */
  solveOnce(spec: DeepPartial<SolveSpec>, options: Options = {}): Promise<SolveOnceResponse> {
    const request = { spec: SolveSpec.fromPartial(spec) };
    return unary(options, (done) => this.#synthesis.solveOnce(request, this.#metadata(), deadline(options), done));
  }

  /** Runs one program against its tests in the server's sandbox. */
  async execute(program: DeepPartialProgram<Program>, options: Options = {}): Promise<ExecutionReport | undefined> {
    const request = { program: Program.fromPartial(program) };
    const response = await unary<{ report: ExecutionReport | undefined }>(options, (done) =>
      this.#execution.execute(request, this.#metadata(), deadline(options), done),
    );
    return response.report;
  }

  /** Version, limits, features and sandbox of the server. */
  serverInfo(options: Options = {}): Promise<GetServerInfoResponse> {
    return unary(options, (done) => this.#info.getServerInfo({}, this.#metadata(), deadline(options), done));
  }

  /** Closes the connection; live solves end. */
  close(): void {
    this.#synthesis.close();
    this.#execution.close();
    this.#info.close();
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    if (this.endpoint.token !== undefined) {
      metadata.set("authorization", `Bearer ${this.endpoint.token}`);
    }
    return metadata;
  }
}

function deadline(options: Options): CallOptions {
  return options.timeout === undefined ? {} : { deadline: Date.now() + options.timeout };
}

type Callback<T> = (error: ServiceError | null, response: T) => void;

function unary<T>(options: Options, start: (done: Callback<T>) => ClientUnaryCall): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = start((error, response) => {
      forget();
      if (error === null) {
        resolve(response);
      } else {
        reject(fromService(error));
      }
    });
    const forget = onAbort(options.signal, () => call.cancel());
  });
}

/** Calls `stop` when the signal says so, if it has not yet; what comes back ends that, for a signal of many calls. */
function onAbort(signal: AbortSignal | undefined, stop: () => void): () => void {
  if (signal?.aborted) {
    stop();
  }
  signal?.addEventListener("abort", stop, { once: true });
  return () => signal?.removeEventListener("abort", stop);
}

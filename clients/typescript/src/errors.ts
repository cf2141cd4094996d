// What went wrong with a call, in words and in fields that a program can switch on.

import { BinaryReader } from "@bufbuild/protobuf/wire";
import { type ServiceError, status } from "@grpc/grpc-js";

/** A call failed. */
export class ThresherError extends Error {
  override readonly name = "ThresherError";

  /**
   * @param code the gRPC status, by name: "UNAVAILABLE".
   * @param reason the server's UPPER_SNAKE_CASE word for it; empty where it gave none.
   * @param message what happened, in one sentence.
   */
  constructor(
    readonly code: string,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

/** The error of a failed call, with the reason that the server attached to it. */
export function fromService(error: ServiceError): ThresherError {
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const reason = packed instanceof Buffer ? reasonOf(packed) : "";
  return new ThresherError(status[error.code] ?? String(error.code), reason, error.details || error.message);
}

/**
 * ErrorInfo.reason among the details of a google.rpc.Status, read by field numbers, since its proto is not ours. Empty
 * where there is none, or where something between us and the server changed the bytes.
 */
export function reasonOf(packed: Uint8Array): string {
  try {
    for (const detail of messages(packed, 3)) {
      const [type, value] = [...messages(detail, 1), ...messages(detail, 2)];
      if (type !== undefined && value !== undefined && text(type).endsWith("/google.rpc.ErrorInfo")) {
        return text(messages(value, 1)[0] ?? new Uint8Array());
      }
    }
  } catch {
    return "";
  }
  return "";
}

/** The values of a length-delimited field. */
function messages(packed: Uint8Array, field: number): Uint8Array[] {
  const reader = new BinaryReader(packed);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, kind] = reader.tag();
    if (number === field && kind === 2) {
      found.push(reader.bytes());
    } else {
      reader.skip(kind, number);
    }
  }
  return found;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

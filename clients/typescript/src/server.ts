// Which server to call: named, or the one that this user runs here (its runtime file).

import { lstatSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { ThresherError } from "./errors.js";

/** A server: what gRPC dials, and the token that each call carries where there is one. */
export interface Endpoint {
  target: string;
  token?: string;
}

type Environment = Record<string, string | undefined>;

/**
 * The server to call: `address` ("unix:/path" or "host:port"), else THRESHER_ADDRESS, else the local one. The token:
 * `token`, else THRESHER_TOKEN, else, for the local server alone, what the file that it names holds.
 *
 * @throws ThresherError with the reason NO_SERVER where none is named and none runs here, NO_TLS where TLS is asked for,
 * which this client does not speak.
 */
export function findServer(address?: string, token?: string, environment: Environment = process.env): Endpoint {
  const given = token || environment["THRESHER_TOKEN"] || undefined;
  const named = address || environment["THRESHER_ADDRESS"];
  if (named) {
    if (!named.startsWith("unix:") && TLS.some((name) => !["", "0"].includes(environment[name] ?? ""))) {
      throw noTls(`${TLS.join(", ")} ask for it`);
    }
    return { target: named, ...(given && { token: given }) };
  }
  const info = readRuntimeFile(environment);
  if (info === undefined) {
    throw noServer("no server is named, and none runs here");
  }
  if (info.tls) {
    throw noTls("the local server wants it");
  }
  const local = given ?? (info.tokenFile === null ? undefined : readFileSync(info.tokenFile, "utf8").trim());
  return { target: info.address, ...(local && { token: local }) };
}

const TLS = ["THRESHER_TLS", "THRESHER_TLS_CA", "THRESHER_TLS_CERTIFICATE", "THRESHER_TLS_KEY", "THRESHER_TLS_NAME"];

interface RuntimeInfo {
  address: string;
  tokenFile: string | null;
  tls: boolean;
}

/** The folder that a server of this user writes its runtime file into. */
function runtimeFolder(environment: Environment): string {
  const base = environment["XDG_RUNTIME_DIR"];
  if (base !== undefined) {
    const found = statSync(base, { throwIfNoEntry: false });
    if (found?.isDirectory() && found.uid === process.getuid?.()) {
      return join(base, "thresher");
    }
  }
  return `/tmp/thresher-${process.getuid?.()}`;
}

function readRuntimeFile(environment: Environment): RuntimeInfo | undefined {
  const folder = runtimeFolder(environment);
  const path = join(folder, "server.json");
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    return undefined;
  }
  const owner = lstatSync(folder);
  // Anybody may make a folder in /tmp under our name first and lead clients to a server of theirs.
  if (!owner.isDirectory() || owner.uid !== process.getuid?.() || (owner.mode & 0o077) !== 0) {
    throw noServer(`${folder} is not a folder of yours alone`);
  }
  const found = JSON.parse(readFileSync(path, "utf8")) as Written;
  if (!alive(found.pid)) {
    throw noServer(`no server is named, and the one that ran here (process ${found.pid}) is gone`);
  }
  return { address: found.address, tokenFile: found.token_file, tls: found.tls ?? false };
}

interface Written {
  address: string;
  pid: number;
  token_file: string | null;
  tls?: boolean;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function noTls(message: string): ThresherError {
  return new ThresherError("UNIMPLEMENTED", "NO_TLS", `this client speaks plain text only, and no TLS: ${message}`);
}

function noServer(message: string): ThresherError {
  return new ThresherError("UNAVAILABLE", "NO_SERVER", `${message}; start one with: thresher serve`);
}

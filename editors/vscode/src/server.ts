// The language server: started with the extension, and again when one of its settings changes.

import * as vscode from "vscode";
import { LanguageClient, type LanguageClientOptions, type ServerOptions, WorkDoneProgress } from "vscode-languageclient/node";

import { EVENT, type Requests, type SolveEvent } from "./protocol.js";

/** The settings that the server is told at its start. */
const ITS_SETTINGS = ["command", "address", "tokenFile", "model", "samples", "seconds", "inlineCompletion"];

/** Logs why it does not start, and shows nothing: that is explained here. */
class Client extends LanguageClient {
  #started = false;

  override error(message: string, data?: unknown, showNotification?: boolean | "force"): void {
    super.error(message, data, this.#started ? showNotification : false);
  }

  override async start(): Promise<void> {
    await super.start();
    this.#started = true;
  }
}

export class Server implements Requests, vscode.Disposable {
  readonly #output = vscode.window.createOutputChannel("Thresher", { log: true });
  #client: LanguageClient | undefined;
  #last: Promise<void> = Promise.resolve();

  /** `onStart` is called before each start: the solves of an earlier server are gone. */
  constructor(
    private readonly middleware: LanguageClientOptions["middleware"],
    private readonly onStart: () => void,
    private readonly onEvent: (event: SolveEvent) => void,
  ) {}

  dispose(): void {
    this.#output.dispose();
  }

  /** Starts it; one that runs is stopped before. Says on the screen where it does not start. */
  start(): Promise<void> {
    return this.#after(async () => {
      await this.#end();
      await this.#begin();
    });
  }

  stop(): Promise<void> {
    return this.#after(() => this.#end());
  }

  async sendRequest<T>(method: string, params: unknown): Promise<T> {
    return (await this.#running()).sendRequest<T>(method, params);
  }

  async sendNotification(method: string, params: unknown): Promise<void> {
    await (await this.#running()).sendNotification(method, params as object);
  }

  async onProgress(token: string, report: (message: string) => void): Promise<vscode.Disposable> {
    return (await this.#running()).onProgress(WorkDoneProgress.type, token, (value) => {
      if (value.kind !== "end" && value.message !== undefined) {
        report(value.message);
      }
    });
  }

  // Starts and stops follow each other, however fast settings change.
  #after(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work);
    return this.#last;
  }

  async #begin(): Promise<void> {
    this.onStart();
    const client = new Client("thresher", "Thresher", serverOptions(), {
      // Not the sides of differences, nor old versions, which are Python, too.
      documentSelector: [
        { language: "python", scheme: "file" },
        { language: "python", scheme: "untitled" },
      ],
      initializationOptions: initializationOptions(),
      initializationFailedHandler: () => false,
      outputChannel: this.#output,
      middleware: this.middleware,
    });
    client.onNotification(EVENT, this.onEvent);
    try {
      await client.start();
      this.#client = client;
    } catch (error) {
      void explain(error);
    }
  }

  async #end(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    try {
      await client?.stop();
    } catch (error) {
      // One that died cannot be stopped, and need not be.
      this.#output.warn(String(error));
    }
  }

  // One that is just starting is waited for.
  async #running(): Promise<LanguageClient> {
    await this.#last;
    if (this.#client === undefined) {
      throw new Error("Thresher: the language server does not run; see thresher.command, then restart it");
    }
    return this.#client;
  }
}

/** Whether a change of the settings asks for another server. */
export function concerns(event: vscode.ConfigurationChangeEvent): boolean {
  return ITS_SETTINGS.some((name) => event.affectsConfiguration(`thresher.${name}`));
}

function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration("thresher");
}

function serverOptions(): ServerOptions {
  const [command = "thresher", ...given] = settings().get<string[]>("command", ["thresher", "lsp"]);
  const [address, tokenFile] = [settings().get("address", ""), settings().get("tokenFile", "")];
  const args = [...given, ...(address ? ["--address", address] : []), ...(tokenFile ? ["--token-file", tokenFile] : [])];
  return { command, args };
}

function initializationOptions(): object {
  return {
    events: true,
    model: settings().get("model", ""),
    k: settings().get("samples", 16),
    seconds: settings().get("seconds", 120),
    inlineCompletion: settings().get("inlineCompletion", true),
  };
}

async function explain(error: unknown): Promise<void> {
  const command = settings().get<string[]>("command", []).join(" ");
  const advice = "is it installed (the extension's README says how), and does thresher.command name it?";
  const open = "Open Settings";
  const message = `Thresher: \`${command}\` does not start; ${advice} (${String(error)})`;
  if ((await vscode.window.showErrorMessage(message, open)) === open) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "thresher.command");
  }
}

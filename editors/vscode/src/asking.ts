// From a wish to its end: asks the language server, shows how it goes, and what came of it.

import * as vscode from "vscode";

import { applyEdit, type Proposals } from "./proposals.js";
import { type Requests, SOLVE, type SolveResult, type Where } from "./protocol.js";
import type { Solves } from "./solves.js";

const SHOWN_MS = 8000;

export class Asking {
  readonly #running = new Map<string, vscode.CancellationTokenSource>();

  constructor(
    private readonly client: Requests,
    private readonly solves: Solves,
    private readonly proposals: Proposals,
  ) {}

  /** Solves a function. Says something only where nothing else shows it: in the status bar, or where a person is needed. */
  async solve(where: Where): Promise<SolveResult | undefined> {
    const stop = new vscode.CancellationTokenSource();
    const key = `${where.textDocument.uri}:${where.position.line}`;
    this.#running.get(key)?.cancel();
    this.#running.set(key, stop);
    try {
      const options = { location: vscode.ProgressLocation.Window, title: "Thresher" };
      const result = await vscode.window.withProgress(options, () =>
        this.client.sendRequest<SolveResult>(SOLVE, { ...where, apply: false }, stop.token),
      );
      this.solves.finish(result);
      await this.#show(result);
      return result;
    } catch (error) {
      if (!stop.token.isCancellationRequested) {
        await this.#explain(error);
      }
      return undefined;
    } finally {
      if (this.#running.get(key) === stop) {
        this.#running.delete(key);
      }
      stop.dispose();
    }
  }

  /** Stops all solves. */
  stop(): void {
    for (const one of this.#running.values()) {
      one.cancel();
    }
  }

  async #show(result: SolveResult): Promise<void> {
    if (result.outcome === "solved" && result.edit !== null) {
      const winner = result.candidates.find((one) => one.verdict === "passed");
      if (vscode.workspace.getConfiguration("thresher").get("diffBeforeApplying", true) && winner !== undefined) {
        await this.proposals.show(result.id, winner.index);
      } else {
        await applyEdit(result.edit);
      }
    }
    vscode.window.setStatusBarMessage(`Thresher: ${result.function}: ${result.message}`, SHOWN_MS);
  }

  async #explain(error: unknown): Promise<void> {
    const { message, data } = error as { message: string; data?: { reason?: string } };
    if (data?.reason !== "NO_SERVER") {
      void vscode.window.showErrorMessage(message);
      return;
    }
    const start = "Start it in a terminal";
    if ((await vscode.window.showErrorMessage(message, start)) === start) {
      const terminal = vscode.window.createTerminal("Thresher");
      terminal.show();
      const [program = "thresher"] = vscode.workspace.getConfiguration("thresher").get<string[]>("command", []);
      terminal.sendText(`${program} serve`);
    }
  }
}

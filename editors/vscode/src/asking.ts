// From a wish to its end: asks the language server, shows how it goes, and what came of it.

import * as vscode from "vscode";

import { applyEdit, type Proposals } from "./proposals.js";
import { type Requests, SOLVE, type SolveResult, STOP, type Where } from "./protocol.js";
import type { Solve, Solves } from "./solves.js";

const SHOWN_MS = 8000;

export class Asking {
  #asked = 0;

  constructor(
    private readonly client: Requests,
    private readonly solves: Solves,
    private readonly proposals: Proposals,
  ) {}

  /** Solves a function. Says something only where nothing else shows it: in the status bar, or where a person is needed. */
  async solve(where: Where): Promise<SolveResult | undefined> {
    this.#asked += 1;
    const token = `thresher-vscode-${this.#asked}`;
    try {
      const options = { location: vscode.ProgressLocation.Window, title: "Thresher" };
      const result = await vscode.window.withProgress(options, (progress) =>
        this.#asks(where, token, (message) => progress.report({ message })),
      );
      this.solves.finish(result);
      await this.#show(result);
      return result;
    } catch (error) {
      await explain(error);
      return undefined;
    }
  }

  /** Stops a solve, or all that run; each ends with a result that says so. */
  async stop(one?: Solve): Promise<void> {
    const running = one === undefined ? this.solves.all.filter((solve) => solve.running) : [one];
    await Promise.all(running.map((solve) => this.client.sendNotification(STOP, { token: solve.token })));
  }

  async #asks(where: Where, token: string, report: (message: string) => void): Promise<SolveResult> {
    const reports = await this.client.onProgress(token, report);
    try {
      return await this.client.sendRequest<SolveResult>(SOLVE, { ...where, apply: false, workDoneToken: token });
    } finally {
      reports.dispose();
    }
  }

  async #show(result: SolveResult): Promise<void> {
    if (result.candidate !== null && result.edit !== null) {
      if (vscode.workspace.getConfiguration("thresher").get("diffBeforeApplying", true)) {
        await this.proposals.show(result.id, result.candidate);
      } else {
        await applyEdit(result.edit);
      }
    }
    vscode.window.setStatusBarMessage(`Thresher: ${result.function}: ${result.message}`, SHOWN_MS);
  }
}

async function explain(error: unknown): Promise<void> {
  const { message, data } = error as { message: string; data?: { reason?: string } };
  const settings = vscode.workspace.getConfiguration("thresher");
  // A server started here listens where it is found without an address, and nowhere else.
  if (data?.reason !== "NO_SERVER" || settings.get("address", "") !== "") {
    void vscode.window.showErrorMessage(message);
    return;
  }
  const start = "Start it in a terminal";
  if ((await vscode.window.showErrorMessage(message, start)) === start) {
    const terminal = vscode.window.createTerminal("Thresher");
    terminal.show();
    const [program = "thresher"] = settings.get<string[]>("command", []);
    terminal.sendText(`${program} serve`);
  }
}

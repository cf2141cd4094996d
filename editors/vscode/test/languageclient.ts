// Stands in for vscode-languageclient/node: a client whose server is a function of the test.

export const made: LanguageClient[] = [];

interface Options {
  documentSelector: unknown;
  initializationOptions: unknown;
  middleware: { executeCommand: (...given: unknown[]) => unknown };
}

type Report = { kind: string; title?: string; message?: string };

export class LanguageClient {
  readonly handlers = new Map<string, (value: never) => void>();
  readonly reports = new Map<string, (value: Report) => void>();
  readonly shown: string[] = [];
  readonly told: [string, unknown][] = [];
  started = false;

  constructor(
    readonly id: string,
    readonly name: string,
    readonly server: unknown,
    readonly options: Options,
  ) {
    made.push(this);
  }

  onNotification(method: string, handler: (value: never) => void): object {
    this.handlers.set(method, handler);
    return {};
  }

  onProgress(_type: unknown, token: string, handler: (value: Report) => void): { dispose(): void } {
    this.reports.set(token, handler);
    return { dispose: () => void this.reports.delete(token) };
  }

  /** The server reports on the work of a token. */
  report(token: string, value: Report): void {
    this.reports.get(token)?.(value);
  }

  sendRequest<T>(method: string, params: unknown): Promise<T> {
    return answer.give(method, params) as Promise<T>;
  }

  async sendNotification(method: string, params: unknown): Promise<void> {
    this.told.push([method, params]);
  }

  error(message: string, _data?: unknown, show: boolean | "force" = true): void {
    if (show) {
      this.shown.push(message);
    }
  }

  async start(): Promise<void> {
    this.started = true;
    if (answer.startFails) {
      this.error("couldn't create connection to server", undefined, "force");
      throw new Error("spawn thresher ENOENT");
    }
  }

  async stop(): Promise<void> {
    this.started = false;
    if (answer.stopFails) {
      throw new Error("Client is not running and can't be stopped");
    }
  }
}

export const WorkDoneProgress = { type: "work done" };

/** What the server says. */
export const answer = {
  startFails: false,
  stopFails: false,
  give: async (_method: string, _params: unknown): Promise<unknown> => undefined,
};

// Stands in for vscode-languageclient/node: a client whose server is a function of the test.

export const made: LanguageClient[] = [];

export class LanguageClient {
  readonly handlers = new Map<string, (value: never) => void>();
  started = false;
  fails = false;

  constructor(
    readonly id: string,
    readonly name: string,
    readonly server: unknown,
    readonly options: { middleware: { executeCommand: (...given: unknown[]) => unknown }; initializationOptions: unknown },
  ) {
    made.push(this);
  }

  onNotification(method: string, handler: (value: never) => void): object {
    this.handlers.set(method, handler);
    return {};
  }

  sendRequest(method: string, params: unknown): Promise<unknown> {
    return answer.give(method, params);
  }

  async start(): Promise<void> {
    this.started = true;
    if (answer.startFails) {
      throw new Error("spawn thresher ENOENT");
    }
  }

  async stop(): Promise<void> {
    this.started = false;
  }
}

/** What the server says. */
export const answer = {
  startFails: false,
  give: async (_method: string, _params: unknown): Promise<unknown> => undefined,
};

// What a person does with the extension in VS Code, and has to see.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { said, until } from "./editor.mjs";

const LINES = { double: 12, half: 21, endless: 30, hopeless: 41 };
const SOLVE = "Thresher: Solve Function";

/** The steps, in their order: each finds the editor as the one before left it. */
export function steps({ editor, file, server, settings }) {
  const before = readFileSync(file, "utf8");
  const onDisk = () => readFileSync(file, "utf8");
  return {
    async "in a folder that is not trusted the extension does not run"() {
      const view = editor.page.locator(".activitybar").getByRole("tab", { name: "Thresher" });
      await editor.page.getByText("Do you trust the authors").waitFor();
      await editor.status("Restricted Mode").waitFor();
      assert.equal(await view.count(), 0);
      await editor.trust();
      await view.waitFor();
      await editor.open("double.py");
    },
    async "a code action solves the function, and the difference is shown before anything changes"() {
      await editor.go(LINES.double);
      await editor.action("Solve with Thresher");
      await editor.tab("double: Thresher's program 1").waitFor();
      await editor.line("return n << 1").waitFor();
      await editor.status("Thresher: double: solved by program 1").waitFor();
      await editor.shot("difference");
      assert.equal(onDisk(), before);
    },
    async "the tree has the programs and their verdicts"() {
      await editor.page.locator(".activitybar").getByRole("tab", { name: "Thresher" }).click();
      await editor.row("double").filter({ hasText: "solved by program 1" }).waitFor();
      await editor.row("program 1").filter({ hasText: "passed (2 of 2)" }).waitFor();
      const failed = editor.row("program 0");
      assert.match(await failed.innerText(), /wrong answer \(1 of 2\): double\(-1\) gives 1, expected -2/);
    },
    async "a program that fails can be looked at, and not applied"() {
      await editor.row("program 0").click();
      await editor.tab("program 0, which does not pass").waitFor();
      await editor.line("return n * n").waitFor();
      await editor.shot("a-program-that-fails");
      assert.equal(await editor.apply.count(), 0);
    },
    async "the program that passed is applied, and the difference closes"() {
      await editor.row("passed (2 of 2)").click();
      await editor.tab("double: Thresher's program 1").waitFor();
      await editor.apply.click();
      await editor.tab("program").waitFor({ state: "detached" });
      await editor.line("return n << 1").waitFor();
      await editor.shot("applied");
      await editor.page.keyboard.press("Control+s");
      const wanted = before.replace('-2\n    """\n    ...', '-2\n    """\n    return n << 1');
      await until(() => onDisk() === wanted, "the file is saved with the program, and otherwise as it was");
    },
    async "an undo takes the program back"() {
      await editor.page.keyboard.press("Control+z");
      await editor.line("return n << 1").waitFor({ state: "detached" });
      await editor.page.keyboard.press("Control+Shift+z");
      await editor.line("return n << 1").waitFor();
    },
    async "where no program passes, the failing test is marked and nothing changes"() {
      const saved = onDisk();
      await editor.go(LINES.hopeless);
      await editor.command(SOLVE);
      await editor.row("hopeless").filter({ hasText: "no program passed" }).waitFor();
      await editor.page.locator(".squiggly-warning").first().waitFor();
      await editor.shot("no-program-passes");
      assert.equal(onDisk(), saved);
    },
    async "the square beside a solve stops it, on the server, too"() {
      const cancelled = said(server, /(cancelled)/);
      await editor.go(LINES.endless);
      await editor.command(SOLVE);
      await editor.status("Thresher: drawing from fake").waitFor();
      const row = editor.row("endless");
      await row.hover();
      await editor.shot("running");
      await row.getByRole("button", { name: "Stop" }).click();
      await row.filter({ hasText: "stopped: as you asked" }).waitFor();
      await cancelled;
    },
    async "an edit of the function stops it"() {
      const cancelled = said(server, /(cancelled)/);
      await editor.go(LINES.endless);
      await editor.command(SOLVE);
      await editor.status("Thresher: drawing from fake").waitFor();
      await editor.go(LINES.endless);
      await editor.page.keyboard.type("  # mine");
      await editor.row("endless").filter({ hasText: "stopped: the function was edited" }).waitFor();
      await cancelled;
    },
    async "an inline completion is shown where the tests pass with it"() {
      await editor.go(LINES.half);
      await editor.page.keyboard.press("Backspace");
      await editor.page.keyboard.press("Backspace");
      await editor.page.keyboard.press("Backspace");
      await editor.command("Trigger Inline Suggestion");
      await editor.page.locator(".ghost-text-decoration").first().waitFor();
      await editor.shot("inline-completion");
      await editor.page.keyboard.press("Tab");
      await editor.line("return n // 2").waitFor();
    },
    async "a language server that does not start is explained, and one that is named then starts"() {
      editor.set({ ...settings, "thresher.command": ["no-such-thresher", "lsp"] });
      await editor.notification("`no-such-thresher lsp` does not start").waitFor();
      await editor.shot("no-language-server");
      assert.equal(await editor.notifications.count(), 1);
      editor.set(settings);
      await editor.row("double").waitFor({ state: "detached" });
      await editor.go(LINES.hopeless);
      await editor.action("Solve with Thresher");
      await editor.row("hopeless").filter({ hasText: "no program passed" }).waitFor();
    },
    async "a server that ends is missed, and where one would be found it can be started"() {
      server.stdin.end();
      await editor.command("Notifications: Clear All Notifications");
      await editor.go(LINES.hopeless);
      await editor.command(SOLVE);
      await editor.notification("the server does not answer").waitFor();
      await editor.command("Notifications: Clear All Notifications");
      editor.set({ ...settings, "thresher.address": "" });
      await editor.row("no program passed").waitFor({ state: "detached" });
      await editor.go(LINES.hopeless);
      await editor.command(SOLVE);
      await editor.notification("thresher serve").waitFor();
      await editor.shot("no-server");
      await editor.page.getByRole("button", { name: "Start it in a terminal" }).waitFor();
    },
  };
}

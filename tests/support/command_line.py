"""The command line of `thresher` in this process, and a problem for it."""

from typer.testing import CliRunner, Result

from engine.cli.main import app

PROBLEM = "prompt: Add two numbers.\nentry_point: add\ntests:\n- assert add(1, 2) == 3\nsampling: {k: 4, top_p: 0.5}\n"


def thresher(*arguments: str, stdin: str | None = None) -> Result:
    """Run it with these words; what it printed and its exit code."""
    return CliRunner().invoke(app, list(arguments), input=stdin)

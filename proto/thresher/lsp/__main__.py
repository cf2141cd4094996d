"""`python -m thresher.lsp`, for editors that start a module."""

import typer

from thresher.lsp.command import lsp

if __name__ == "__main__":
    typer.run(lsp)

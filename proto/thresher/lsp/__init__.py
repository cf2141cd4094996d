"""`thresher lsp`: a language server that has functions written by Thresher, for any editor that speaks LSP.

A client of the gRPC server like others: it finds a function's tests, sends a problem, and turns the program that passed
into an edit of the file. What it offers, and how editors ask for it, stands in docs/editors.md. Needs the extra `lsp`.
"""

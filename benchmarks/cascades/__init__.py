"""Cascades measured: against each of their models alone, and played again from recordings."""

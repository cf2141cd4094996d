"""What the sampling tree gives: rows saved, distinct candidates, drafts, pruning."""

"""One module per family of facts: each reads through `kernel` and `engines`, and yields records and gaps."""

"""Pure tests: recorded bytes in, records out; no host, no root."""

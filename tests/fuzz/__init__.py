"""Every parser, given what nobody would write: `make fuzz`, and a fixed number of inputs in `make test`."""

#!python
"""The `hostinspect` command, whose first line an installer replaces by one with its Python; `python -m hostinspect`."""

from hostinspect.cli import main

main()

"""`python -m hostinspect`."""

from hostinspect.cli import main

main()

"""Measurements: each module prints its own, `python -m tests.bench` runs all. None of them is a test."""

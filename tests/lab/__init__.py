"""Throwaway Docker hosts, in namespaces of their own on this machine: see `host.LabHost` and `python -m tests.lab`."""

"""hostinspect's tests: unit (bytes in, records out), live (against a real engine), lab (the throwaway hosts)."""

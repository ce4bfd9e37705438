"""hostinspect: what a Docker host is made of, read from the kernel and the disk, never from the daemon."""

__version__ = "0.1.0"

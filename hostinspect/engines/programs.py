"""The programs that engines are made of, by the name that the kernel has of them. Loaded with next to nothing."""

from __future__ import annotations

# Whose arguments say something about an engine: its data root, its socket, a published port. Compared with comm, which
# has 15 bytes at most. Others' arguments are not read: they may hold secrets and reading them waits for their memory.
ENGINE_COMMS = frozenset(
    (
        b"dockerd",
        b"docker-proxy",
        b"containerd",
        b"containerd-shim",  # -runc-v1, -runc-v2, cut
        b"docker-containe",  # docker-containerd and its shim, before 18.09
        b"rootlesskit",
        b"rootlessport",
        b"slirp4netns",
        b"podman",
        b"conmon",
    )
)

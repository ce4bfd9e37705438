"""Which file systems may never answer."""

from __future__ import annotations

# File systems whose server may be gone: what is asked of them then waits for ever, and kill(1) does not help.
_SERVED = {
    "9p",
    "afs",
    "autofs",
    "cifs",
    "coda",
    "davfs",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
}
_CLUSTERED = {"beegfs", "ceph", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "pvfs2"}
_REMOTE = frozenset(_SERVED | _CLUSTERED)


def is_remote(fstype: str) -> bool:
    """Whether a file system is, or may be, served by another machine or process. Every FUSE may be."""
    return fstype in _REMOTE or fstype.partition(".")[0] in ("fuse", "fuseblk")

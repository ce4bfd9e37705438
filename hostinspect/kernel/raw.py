"""What one read answered, as `hostinspect.kernel.tape` keeps it and a snapshot has it."""

from __future__ import annotations

from msgspec import Struct


class Raw(Struct, frozen=True):
    """What one read answered."""

    source: str  # a path; "request 18 of netlink protocol 0 in net:[4026531840]"; "getsockopt level 0, option 65 in …"
    content: bytes | None  # None: no more is kept

"""The name of an ipset(8) by its index: getsockopt(SO_IP_SET), which reads only (linux/netfilter/ipset/ip_set.h).

Rules name sets by an index. Asking loads no module: a rule that uses a set has loaded it.
"""

from __future__ import annotations

import _socket as socket
import sys
from struct import Struct

from hostinspect.kernel.sockopt import getsockopt
from hostinspect.kernel.xtables.extension import UnknownError
from hostinspect.kernel.xtables.spelling import string

SO_IP_SET = 83
_OP_GET_BYINDEX, _OP_VERSION = 0x7, 0x100
_VERSION = Struct("@2I")
_GET_SET = Struct("@2I32s")  # op, version, a union of index (u16) and name


def set_name(index: int) -> str:
    """The set's name in the network namespace we are in; `UnknownError` where the kernel does not tell."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        try:
            _op, version = _VERSION.unpack(getsockopt(raw, socket.SOL_IP, SO_IP_SET, _VERSION.pack(_OP_VERSION, 0)))
            request = _GET_SET.pack(_OP_GET_BYINDEX, version, index.to_bytes(2, sys.byteorder))
            name = string(_GET_SET.unpack(getsockopt(raw, socket.SOL_IP, SO_IP_SET, request))[2])
        finally:
            raw.close()
    except OSError as e:
        raise UnknownError from e
    if not name:
        raise UnknownError
    return name

"""Sockets of a namespace of its own: what it counts decides whether its sockets are asked for."""

from __future__ import annotations

import json
import subprocess
import sys

_SOCKETS = """
import json, socket
from hostinspect.kernel import sock_diag

counted = sock_diag._has_any
kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
families = {"ipv4": (socket.AF_INET, "0.0.0.0"), "ipv6": (socket.AF_INET6, "::")}
cases = [(), *((kind, family) for kind in kinds for family in families)]
told = {}
for case in cases:
    if case:
        kind, (family, address) = kinds[case[0]], families[case[1]]
        with socket.socket(family, kind) as bound:
            bound.bind((address, 1234))
            if kind == socket.SOCK_STREAM:
                bound.listen()
            found = sock_diag.listening_sockets(1)
    else:
        found = sock_diag.listening_sockets(1)
    told[" ".join(case)] = [counted("/proc"), [[one.proto, one.family, one.port] for one in found]]
print(json.dumps(told))
"""


def test_what_is_there_is_counted_and_found() -> None:
    command = ["unshare", "--net", sys.executable, "-c", _SOCKETS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told.pop("") == [[False, False], []]
    assert len(told) == 4
    for case, (_, found) in told.items():
        assert found == [[*case.split(), 1234]]

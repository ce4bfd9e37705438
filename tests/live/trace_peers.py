"""The two ends of real connections: servers that say who they are, and a prober that asks many at once.

    trace_peers.py serve NAME tcp:0.0.0.0:80 udp:[::]:53 …    answers NAME to whoever asks, until it is killed;
                                                              tcp:%eth0:80 is bound to a link
    trace_peers.py probe SECONDS                              probes on stdin, what became of each on stdout, as JSON

Standard library only: it runs in containers too, whose root has nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys
import time
from typing import Any


def serve(name: str, places: list[str]) -> None:
    """Listen at all the places."""
    selector = selectors.DefaultSelector()
    for place in places:
        proto, _, rest = place.partition(":")
        address, _, port = rest.rpartition(":")
        selector.register(_bound(proto, address.strip("[]"), int(port)), selectors.EVENT_READ, proto)
    while True:
        for key, _ in selector.select():
            listening: socket.socket = key.fileobj  # type: ignore[assignment]
            with contextlib.suppress(OSError):
                if key.data == "tcp":
                    connection, _ = listening.accept()
                    with connection:
                        connection.send(name.encode())
                else:
                    _, who = listening.recvfrom(64)
                    listening.sendto(name.encode(), who)


def _bound(proto: str, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    listening = socket.socket(family, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
    if address.startswith("%"):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, address[1:].encode())
        address = ""
    listening.bind((address, port))
    if proto == "tcp":
        listening.listen(128)
    return listening


def probe(probes: list[dict[str, Any]], patience: float) -> list[str]:
    """What each became: the name that was answered, or "nothing".

    A probe is {netns: path or "", proto, address, port}. All from one namespace are asked at once.
    """
    found = ["nothing"] * len(probes)
    children = []
    for netns in dict.fromkeys(probe["netns"] for probe in probes):
        reading, writing = os.pipe()
        if not (pid := os.fork()):
            os.close(reading)
            if netns:
                _enter(netns)
            own = [(n, probe) for n, probe in enumerate(probes) if probe["netns"] == netns]
            os.write(writing, json.dumps(_ask(own, patience)).encode())
            os._exit(0)
        os.close(writing)
        children.append((pid, reading))
    for pid, reading in children:
        with os.fdopen(reading) as answers:
            for n, answer in json.load(answers):
                found[n] = answer
        os.waitpid(pid, 0)
    return found


def _enter(path: str) -> None:
    import ctypes

    fd = os.open(path, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), path)


def _ask(probes: list[tuple[int, dict[str, Any]]], patience: float) -> list[tuple[int, str]]:
    selector = selectors.DefaultSelector()
    found = {}
    for n, asked in probes:
        family = socket.AF_INET6 if ":" in asked["address"] else socket.AF_INET
        kind = socket.SOCK_STREAM if asked["proto"] == "tcp" else socket.SOCK_DGRAM
        connection = socket.socket(family, kind)
        connection.setblocking(False)
        try:
            connection.connect((asked["address"], asked["port"]))
            if asked["proto"] == "udp":
                connection.send(b"?")
        except BlockingIOError:
            pass
        except OSError:
            found[n] = "nothing"
            continue
        selector.register(connection, selectors.EVENT_READ, n)
    deadline = time.monotonic() + patience
    while len(found) < len(probes) and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            connection = key.fileobj  # type: ignore[assignment]
            try:
                answer = connection.recv(64).decode()
            except OSError:
                answer = ""
            found[key.data] = answer or "nothing"
            selector.unregister(connection)
    return [*found.items()]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        json.dump(probe(json.load(sys.stdin), float(sys.argv[2])), sys.stdout)

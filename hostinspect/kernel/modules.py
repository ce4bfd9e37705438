"""Whether asking the kernel for something would make it load a module.

Some sockets and requests load what they need (request_module() in the kernel: tcp_diag for sock_diag(7), nfnetlink and
nf_tables for NETLINK_NETFILTER). hostinspect asks only where that is there already, or cannot be loaded at all.
"""

from __future__ import annotations

import os
from functools import cache

from hostinspect.kernel.procfs import content
from hostinspect.kernel.text import text


def is_present(module: str) -> bool:
    """Whether `module` is loaded or built in, or the kernel has no modules at all; when in doubt, False.

    Read once: /proc/modules (proc_modules(5)), until `forget`, and /lib/modules/RELEASE/modules.builtin. In a container
    the latter is often missing, then only loaded modules count.
    """
    loaded = _loaded()
    if loaded is None:
        return True
    name = module.replace("-", "_")
    return name in loaded or name in _builtin()


def forget() -> None:
    """Look at /proc/modules again when next asked: for a process that lives on while modules are loaded."""
    _loaded.cache_clear()


def parse_modules(raw: bytes) -> frozenset[str]:
    """Names of the modules in /proc/modules that are there to stay.

    >>> sorted(parse_modules(b"veth 32768 0 - Live 0x0\\nxt_nat 16384 1 - Live 0x0\\ntun 9 0 - Unloading 0x0\\n"))
    ['veth', 'xt_nat']
    """
    found = []
    for line in raw.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[4] == b"Live":
            found.append(text(fields[0]))
    return frozenset(found)


def parse_modules_builtin(raw: bytes) -> frozenset[str]:
    """Names of the modules in modules.builtin, a path of a file that was not made on each line.

    >>> sorted(parse_modules_builtin(b"kernel/net/ipv4/tcp_diag.ko\\nkernel/fs/mbcache.ko\\nkernel/x/a-b.ko.zst\\n"))
    ['a_b', 'mbcache', 'tcp_diag']
    """
    names = (line.rsplit(b"/", 1)[-1].split(b".ko", 1)[0] for line in raw.splitlines())
    return frozenset(text(name).replace("-", "_") for name in names)


@cache
def _loaded() -> frozenset[str] | None:
    """Loaded modules; None where the kernel was built without CONFIG_MODULES, and so has no such file."""
    try:
        return parse_modules(content("/proc/modules"))
    except FileNotFoundError:
        # Hidden from us is something else: /proc must be there, with its files.
        return None if os.path.exists("/proc/version") else frozenset()
    except OSError:
        return frozenset()


@cache
def _builtin() -> frozenset[str]:
    release = os.uname().release
    for folder in ("/lib/modules", "/usr/lib/modules"):
        try:
            return parse_modules_builtin(content(f"{folder}/{release}/modules.builtin"))
        except OSError:
            continue
    return frozenset()

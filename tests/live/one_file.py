"""A FUSE file system with one file, whose server can be stopped: what it has not said by then is waited for.

    python -m tests.live.one_file DIRECTORY FILE

mounts it at DIRECTORY, where `disk` has what FILE has, and serves until it is killed (fuse(4), linux/fuse.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from pathlib import Path

_REQUEST = struct.Struct("=IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, of extensions, padding
_READ = struct.Struct("=QQI")  # handle, offset, size
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ_IT, _RELEASE = 1, 2, 3, 14, 15, 18
_INIT, _INTERRUPT, _BATCH_FORGET = 26, 36, 42
_ROOT, _DISK = 1, 2  # nodes


def serve(fd: int, content: int, size: int) -> None:
    """Answer what is asked at `fd`, from the file open at `content`."""
    while True:
        request = os.read(fd, 1 << 20)
        _, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
        body = request[_REQUEST.size :]
        answer: bytes | int = errno.ENOSYS
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            continue
        if opcode == _INIT:
            answer = struct.pack("=IIIIHHIIHH", 7, 31, 4096, 0, 12, 9, 4096, 1, 0, 0).ljust(64, b"\0")
        elif opcode == _LOOKUP:
            known = node == _ROOT and body.rstrip(b"\0") == b"disk"
            answer = struct.pack("=QQQQII", _DISK, 0, 0, 0, 0, 0) + _attributes(_DISK, size) if known else errno.ENOENT
        elif opcode == _GETATTR:
            answer = struct.pack("=QII", 0, 0, 0) + _attributes(node, size)
        elif opcode == _OPEN:
            answer = struct.pack("=QII", 0, 0, 0)
        elif opcode == _READ_IT:
            _, offset, length = _READ.unpack_from(body)
            answer = os.pread(content, length, offset)
        elif opcode == _RELEASE:
            answer = b""
        error, told = (-answer, b"") if isinstance(answer, int) else (0, answer)
        os.write(fd, struct.pack("=IiQ", 16 + len(told), error, unique) + told)


def _attributes(node: int, size: int) -> bytes:
    """struct fuse_attr: nothing of it is kept by the kernel, so that each look asks again."""
    mode, size = (0o40755, 0) if node == _ROOT else (0o100644, size)
    return struct.pack("=QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def main() -> None:
    directory, path = sys.argv[1:]
    content = os.open(path, os.O_RDONLY)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"one_file", os.fsencode(directory), b"fuse", 0, options):
        sys.exit(os.strerror(ctypes.get_errno()))
    print("mounted", flush=True)
    serve(fd, content, Path(path).stat().st_size)


if __name__ == "__main__":
    main()

"""What this process waits for: noted where its parent sees it, since a system call may never return.

A disk that is gone, a lock that somebody holds, a file system whose server is a container's: each holds whoever asks,
and often no signal helps. So what is asked next is noted on a *page* of shared memory, and whoever started us
(`hostinspect.kernel.limit`) may give us up, and start another process that leaves out what did not answer.

A note stands until the next one. Where there is no page, nothing is noted and everything is asked.
"""

from __future__ import annotations

import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # whoever watches loads next to nothing: it costs more than to watch
    from collections.abc import Collection
    from mmap import mmap

PAGES = 2  # a process and one fork of it
SIZE = 16384  # bytes of a page
_SECONDS, _SECONDS_AT = Struct("=d"), PAGES * SIZE  # how long to wait for an answer
MEMORY = _SECONDS_AT + _SECONDS.size  # bytes of the memory that both see

_LONGEST_KIND, _LONGEST_NAME = 600, 2000  # characters, of six bytes at most: "\udc80"
_USUAL = 200  # bytes of an entry: what is noted forty times for each container is short

_NOTE = Struct("=QiiH")  # turn, pid, descriptor, length of what follows
_SHORT, _LONG = (Struct(f"{_NOTE.format}{size}s") for size in (_USUAL, SIZE - _NOTE.size))

REMEDY = "see who is stuck, and in what (ps -eo pid,stat,wchan:32,comm; dmesg), or wait longer (--timeout)"


class NoAnswerError(OSError):
    """It did not answer before, so it was not asked again. Its `errno` is None, so that a `Gap` shows these words."""


class Question:
    """Something that is asked of the host: `name` beneath `of`, which is a path where it was asked by a descriptor.

    `kind` is what else would not answer either: a file system, a file that every process has.
    """

    __slots__ = ("kind", "name", "of")

    def __init__(self, kind: str, name: str, of: str = "") -> None:
        self.kind, self.name, self.of = kind, name, of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and (self.kind, self.name, self.of) == (other.kind, other.name, other.of)

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.of))

    def __str__(self) -> str:
        return f"{self.of}/{self.name}" if self.of else self.name


class Note:
    """What stands on a page. `turn` is how many notes there were."""

    __slots__ = ("fd", "kind", "name", "pid", "turn")

    def __init__(self, turn: int, pid: int, fd: int, kind: str, name: str) -> None:
        self.turn, self.pid, self.fd, self.kind, self.name = turn, pid, fd, kind, name

    @property
    def question(self) -> Question:
        """What it says, while the process that wrote it is there."""
        of = _path_of(str(self.pid), self.fd) if self.fd >= 0 else ""
        return Question(self.kind, self.name, of)


class Page:
    """A page of `memory` for one process to write. `unanswered` are questions, and kinds of them, not to be asked.

    `above` is how many processes there are that this one is a fork of, and that are there to watch.
    """

    def __init__(
        self, memory: mmap, number: int, unanswered: Collection[Question], kinds: Collection[str], above: int = 1
    ) -> None:
        self._memory, self._number, self._start = memory, number, number * SIZE
        self.above = above
        self._unanswered, self._kinds = frozenset(unanswered), frozenset(kinds)
        self._turn, self._pid = 0, os.getpid()

    def note(self, kind: str, name: str, fd: int) -> None:
        """Write it. Raises NoAnswerError."""
        if self._unanswered or self._kinds:
            self._check(kind, name, fd)
        self.write(kind, name, fd)

    def write(self, kind: str, name: str, fd: int = -1) -> None:
        """Write it, whether it answered before or not."""
        self._turn += 1
        entry = _entry(kind, name)
        form = _SHORT if len(entry) <= _USUAL else _LONG
        form.pack_into(self._memory, self._start, self._turn, self._pid, fd, len(entry), entry)

    def rest(self) -> None:
        """Write that nothing of the host is waited for."""
        _NOTE.pack_into(self._memory, self._start, 0, self._pid, -1, 0)

    def next(self) -> Page:
        """The page behind it, for our own fork."""
        return Page(self._memory, self._number + 1, self._unanswered, self._kinds, self.above)

    def limit(self, seconds: float) -> None:
        """Write how long an answer may take; 0: as long as it likes."""
        set_limit(self._memory, seconds)

    def _check(self, kind: str, name: str, fd: int) -> None:
        kind, name = _told(_entry(kind, name))  # as it is remembered
        within = f"did not answer within {limit_of(self._memory):g} s"
        if kind in self._kinds:
            raise NoAnswerError(f"others of its kind {within}, so it was not asked")
        if Question(kind, name, _path_of("self", fd) if fd >= 0 else "") in self._unanswered:
            raise NoAnswerError(f"it {within}")


page: Page | None = None  # of this process, where somebody watches it


def on(kind: str, name: str, fd: int = -1) -> None:
    """Say that `name`, beneath the directory or about the process open as `fd`, is asked next. Raises NoAnswerError."""
    if page is not None:
        page.note(kind, name, fd)


def rest() -> None:
    """Say that what comes next may take as long as it likes: it is another process of ours, or whoever reads."""
    if page is not None:
        page.rest()


def limit(seconds: float) -> None:
    """Say how long an answer may take; 0: as long as it likes."""
    if page is not None:
        page.limit(seconds)


def on_a_page_of_its_own() -> None:
    """In a fork of a process with a page: take the next one."""
    global page
    if page is not None:
        page = page.next()


def limit_of(memory: mmap) -> float:
    """How long an answer may take, in seconds, as was said last; 0: without end."""
    seconds: float = _SECONDS.unpack_from(memory, _SECONDS_AT)[0]
    return seconds


def set_limit(memory: mmap, seconds: float) -> None:
    """Let it be so long."""
    _SECONDS.pack_into(memory, _SECONDS_AT, seconds)


def read(memory: mmap, number: int) -> Note | None:
    """What stands on a page; None where nothing is waited for."""
    turn, pid, fd, length = _NOTE.unpack_from(memory, number * SIZE)
    if not turn:
        return None
    start = number * SIZE + _NOTE.size
    return Note(turn, pid, fd, *_told(memory[start : start + length]))


def _entry(kind: str, name: str) -> bytes:
    entry = f"{kind[:_LONGEST_KIND]}\0{name[:_LONGEST_NAME]}"
    try:
        return entry.encode()
    except UnicodeEncodeError:
        return entry.encode("utf-8", "backslashreplace")


def _told(entry: bytes) -> tuple[str, str]:
    """Kind and name of an entry, which may be read while the next one is written."""
    kind, _, name = entry.decode("utf-8", "replace").partition("\0")
    return kind, name


def _path_of(pid: str, fd: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""

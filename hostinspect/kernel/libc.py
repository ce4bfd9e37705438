"""Functions of the C library, called as ctypes does it, on what ctypes itself is written on.

That makes the types of everything there is when it is loaded, which takes longer than all that is called here.

    >>> function("getpid")() == __import__("os").getpid()
    True
"""

from __future__ import annotations

from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, addressof, dlopen, dlsym, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["addressof", "buffer", "function", "get_errno", "words"]


class _Int(_SimpleCData):  # type: ignore[type-arg]  # it is generic to type checkers only
    _type_ = "i"


class _Word(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "I"


class _Byte(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


def function(name: str) -> Callable[..., int]:
    """The function of that name, which returns an int; its arguments may be int, bytes, `words` and a `buffer`, all but
    the first by their address.

    `get_errno` says what it left in errno. Raises OSError where there is none.
    """
    return _Function(dlsym(dlopen(None, 0), name))  # type: ignore[arg-type]  # None is this program with all it loaded


def words(values: Iterable[int]) -> Any:
    """An array of these, of 32 bits each, that a function may write to; `addressof` it is where it lies."""
    found = (*values,)
    return (_Word * len(found))(*found)


def buffer(content: bytearray) -> Any:
    """These bytes themselves, that a function may write to. They cannot grow meanwhile."""
    return (_Byte * len(content)).from_buffer(content)

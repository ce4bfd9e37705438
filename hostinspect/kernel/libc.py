"""Functions of the C library, called as ctypes does it, on what ctypes itself is written on.

That makes the types of everything there is when it is loaded, which takes longer than all that is called here.

    >>> function("getpid")() == __import__("os").getpid()
    True
"""

from __future__ import annotations

from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, dlopen, dlsym, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

__all__ = ["address", "function", "get_errno"]


class _Int(_SimpleCData):  # type: ignore[type-arg]  # it is generic to type checkers only
    _type_ = "i"


class _Address(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


def function(name: str) -> Callable[..., int]:
    """The function of that name, which returns an int; its arguments may be int, bytes (a pointer) and `address`.

    `get_errno` says what it left in errno. Raises OSError where there is none.
    """
    return _Function(dlsym(dlopen(None, 0), name))  # type: ignore[arg-type]  # None is this program with all it loaded


def address(words: array[int]) -> object:
    """A pointer to them, as an argument. They have to live as long."""
    return _Address(words.buffer_info()[0])

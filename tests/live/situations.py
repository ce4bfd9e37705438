"""What may happen to a file in a container, one thing each: how the image has it, what is done, what is to be told.

Shell snippets, run in a directory of the situation's own: in the image's lowest layer, in the layer above it, and in
the container, through its overlay. What is to be told is relative to that directory. Where `docker diff` is wrong,
`docker` is what it tells.
"""

from __future__ import annotations

from typing import NamedTuple

LONG_AGO = "2020-01-01 00:00:00"  # when everything in the lowest layer was modified: no fraction of a second


class Situation(NamedTuple):
    image: str
    layer: str
    change: str
    told: tuple[str, ...]
    docker: tuple[str, ...] | None = None  # None: the same


def _s(image: str, change: str, *told: str, layer: str = "", docker: tuple[str, ...] | None = None) -> Situation:
    return Situation(image, layer, change, told, docker)


SETXATTR = '"$PYTHON" -c "import os, sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))"'
SOCKET = '"$PYTHON" -c "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"'
_CAPABILITY = "0100000200040000000000000000000000000000"  # cap_net_bind_service=ep
_OLD = f"--date '{LONG_AGO}'"

SITUATIONS = {
    "nothing": _s("echo 1 >a", ""),
    "added": _s("", "echo 1 >a; mkdir -p d/e; echo 2 >d/e/b", "C .", "A a", "A d", "A d/e", "A d/e/b"),
    "added-and-deleted": _s("", "echo 1 >a; mkdir -p d/e; rm -r a d"),
    "changed": _s("echo 1 >a", "echo 22 >a", "C .", "C a"),
    "deleted": _s("echo 1 >a; mkdir -p d/e; echo 2 >d/e/f", "rm -r a d", "C .", "D a", "D d"),
    "deep-below": _s("mkdir -p a/b/c; echo 1 >a/b/c/f", "rm a/b/c/f", "C .", "C a", "C a/b", "C a/b/c", "D a/b/c/f"),
    "renamed": _s("echo 1 >a", "mv a b", "C .", "D a", "A b"),
    "renamed-directory": _s("mkdir d; echo 1 >d/x", "mv d e", "C .", "D d", "A e", "A e/x"),
    # --- made again ---
    "made-again": _s("echo 1 >a", "cp -p a ../kept; rm a; mv ../kept a"),
    "made-again-otherwise": _s("echo 1 >a", "rm a; echo 22 >a", "C .", "C a"),
    "directory-made-again": _s("mkdir d", "rmdir d; mkdir d"),
    "directory-made-again-otherwise": _s(
        "mkdir d; echo 1 >d/a; echo 1 >d/b",
        "rm -r d; mkdir d; echo 22 >d/b; echo 1 >d/c",
        *("C .", "C d", "D d/a", "C d/b", "A d/c"),
    ),
    "file-to-directory": _s("echo 1 >a", "rm a; mkdir a; echo 1 >a/x", "C .", "C a", "A a/x"),
    "directory-to-file": _s("mkdir d; echo 1 >d/x", "rm -r d; echo 1 >d", "C .", "C d"),
    "directory-to-link": _s("mkdir d e; echo 1 >d/x", "rm -r d; ln -s e d", "C .", "C d"),
    "link-to-directory": _s("mkdir e; echo 1 >e/x; ln -s e l", "rm l; mkdir l; echo 1 >l/x", "C .", "C l", "A l/x"),
    "file-to-directory-and-back": _s("echo 1 >a", "rm a; mkdir a; echo 1 >a/x; rm -r a; echo 22 >a", "C .", "C a"),
    "directory-to-file-and-back": _s(
        "mkdir d; echo 1 >d/x", "rm -r d; echo 1 >d; rm d; mkdir d; echo 1 >d/y", "C .", "C d", "D d/x", "A d/y"
    ),
    # --- status ---
    "mode": _s("echo 1 >a; mkdir d", "chmod 600 a; chmod 700 d", "C .", "C a", "C d"),
    "mode-and-back": _s("echo 1 >a; mkdir d", "chmod 600 a; chmod 700 d; chmod 644 a; chmod 755 d"),
    "setuid": _s("echo 1 >a", "chmod u+s a", "C .", "C a"),
    "owner": _s("echo 1 >a; mkdir d; ln -s x l", "chown -h 1:2 a d l", "C .", "C a", "C d", "C l"),
    "capability": _s("echo 1 >a", f"{SETXATTR} a security.capability {_CAPABILITY}", "C .", "C a"),
    "touched": _s("echo 1 >a", "touch a", "C .", "C a"),
    "touched-directory": _s("mkdir d", "touch d"),
    "touched-to-the-same-time": _s("echo 1 >a", f"touch {_OLD} a"),
    "opened-only": _s("echo 1 >a", ": >>a"),
    # --- links and special files ---
    "links": _s("ln -s x l", "ln -sfn yy l; ln -s z m", "C .", "C l", "A m"),
    "hard-link": _s("echo 1 >a", "ln a b", "C .", "A b"),
    "one-of-two-hard-links": _s("echo 1 >a; ln a b", "echo 22 >a", "C .", "C a"),
    "special": _s(
        "mkfifo p; mknod n c 1 3",
        f"mkfifo q; mknod m c 1 5; mknod b b 7 0; {SOCKET} s; rm n; mknod n c 1 5; touch {_OLD} n; chmod 600 p",
        *("C .", "A b", "A m", "C n", "C p", "A q", "A s"),
    ),
    "special-opened-up": _s("mkfifo p", "ln p q", "C .", "A q"),
    # --- names ---
    "names": _s(
        "mkdir d",
        r"""touch "new$(printf '\nline')" 'two  spaces' ' ' '\x41' '*' '\n' .wh.a ü; """
        r"""touch "$(printf '\033[31mred')" d/日本 ./-0""",
        *(
            "C .",
            "A  ",
            "A *",
            "A -0",
            "A .wh.a",
            r"A \n",
            r"A \x41",
            "C d",
            "A d/日本",
            "A new\nline",
            "A two  spaces",
        ),
        *("A ü", "A \x1b[31mred"),
    ),
    "names-that-are-no-utf-8": _s(
        r"""mkdir "$(printf 'd\377')"; touch "$(printf 'd\377/\300')" """,
        r"""touch "$(printf '\377\376')" "$(printf 'd\377/\340')"; rm "$(printf 'd\377/\300')" """,
        *("C .", "A \udcff\udcfe", "C d\udcff", "A d\udcff/\udce0", "D d\udcff/\udcc0"),
        docker=("C .", "A \ufffd\ufffd", "C d\ufffd", "A d\ufffd/\ufffd", "D d\ufffd/\ufffd"),
    ),
    # --- layers of the image ---
    "deleted-in-a-layer": _s("echo 1 >a", "", layer="rm a"),
    "deleted-in-a-layer-and-made": _s("echo 1 >a", "echo 1 >a", "C .", "A a", layer="rm a"),
    "made-again-in-a-layer": _s(
        "mkdir d; echo 1 >d/x",
        "echo 1 >d/x; echo 1 >d/y; rm d/z",
        "C .",
        "C d",
        "A d/x",
        "A d/y",
        "D d/z",
        layer="rm -r d; mkdir d; echo 1 >d/z",
    ),
    "changed-in-a-layer": _s("echo 1 >a; echo 1 >b", "rm a", "C .", "D a", layer="echo 22 >a; echo 22 >b"),
    # --- what docker diff does not see ---
    "size-and-time-kept": _s(
        "echo 1 >a",
        f"echo 2 >a; touch {_OLD} a",
        "C .",
        "C a",
        docker=(),
    ),
    "changed-within-the-second": _s(
        "echo 1 >a",
        "echo 2 >a; touch --date '2020-01-01 00:00:00.5' a",
        "C .",
        "C a",
        docker=(),
    ),
    "xattr": _s(
        "echo 1 >a; mkdir d", f"{SETXATTR} a user.x 31; {SETXATTR} d user.x 31", "C .", "C a", "C d", docker=()
    ),
}


def script(stage: str) -> str:
    """The shell script that does `stage` (a field of `Situation`) of all situations, in the directories of $1."""
    lines = ["set -eu", 'cd "$1"']
    for name, situation in SITUATIONS.items():
        lines += [f"mkdir -p {name}", f"cd {name}", getattr(situation, stage) or ":", "cd .."]
    return "\n".join(lines) + "\n"


def told(*, docker: bool) -> list[tuple[str, str]]:
    """Kind and path of every change of all situations, as told by `docker diff` or as it is."""
    changes = []
    for name, situation in SITUATIONS.items():
        lines = situation.docker if docker and situation.docker is not None else situation.told
        for line in lines:
            kind, _, path = line.partition(" ")
            changes.append((kind, f"/cases/{name}" if path == "." else f"/cases/{name}/{path}"))
    return [("C", "/cases"), *changes]

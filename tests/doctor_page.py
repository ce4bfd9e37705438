"""The part of docs/doctor.md that lists the checks.

python -m tests.doctor_page    write it anew
"""

from __future__ import annotations

import re
from pathlib import Path

from hostinspect.doctor import in_order

PAGE = Path(__file__).resolve().parent.parent / "docs" / "doctor.md"
_BEGIN, _END = "<!-- checks: python -m tests.doctor_page -->", "<!-- end of checks -->"


def reference() -> str:
    """A table of all checks, and what each means."""
    lines = [_BEGIN, "", "| check | severity | |", "| --- | --- | --- |"]
    lines += (f"| [`{check.id}`](#{check.id}) | {check.severity} | {check.title} |" for check in in_order())
    for check in in_order():
        lines += ["", f"### {check.id}", "", f"{check.title} ({check.severity})"]
        if check.explanation:
            lines += ["", check.explanation]
    return "\n".join([*lines, "", _END])


def main() -> None:
    """Replace it in the page."""
    text = PAGE.read_text(encoding="utf-8")
    whole = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.S)
    PAGE.write_text(whole.sub(lambda _: reference(), text), encoding="utf-8")


if __name__ == "__main__":
    main()

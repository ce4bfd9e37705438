"""Findings as JUnit XML, which CI servers show: a test case for each check."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from xml.etree import ElementTree as ET

from hostinspect.doctor.check import Check, Doctor, Finding
from hostinspect.render.text import safe

# What XML 1.0 cannot hold, not even escaped (2.2). `safe` leaves no control character; these are printable nowhere.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(answer: Doctor, checks: Mapping[str, Check], failing: Collection[str]) -> str:
    """A finding whose severity is one of `failing` is a failure; any other is said in the output of its test case.

    A check that was not judged is skipped, with the reason.
    """
    by_check: dict[str, list[Finding]] = {result.id: [] for result in answer.checks}
    for finding in answer.findings:
        by_check[finding.id].append(finding)
    reasons = {gap.subject: f"{gap.why} → {gap.remedy}" for gap in answer.gaps}
    failed = sum(any(f.severity in failing for f in found) for found in by_check.values())
    skipped = sum(result.result == "not judged" for result in answer.checks)
    counts = {"tests": str(len(answer.checks)), "failures": str(failed), "errors": "0", "skipped": str(skipped)}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": "hostinspect doctor", "timestamp": _clean(answer.collected_at)})
    suite.attrib.update(counts)
    for result in answer.checks:
        name = f"hostinspect.doctor.{checks[result.id].family}"
        case = ET.SubElement(suite, "testcase", {"classname": name, "name": result.id})
        found = by_check[result.id]
        grave = [finding for finding in found if finding.severity in failing]
        if grave:
            failure = ET.SubElement(case, "failure", {"type": grave[0].severity, "message": _message(grave)})
            failure.text = "\n\n".join(map(_words, grave))
        elif result.result == "not judged":
            ET.SubElement(case, "skipped", {"message": _clean(reasons.get(result.id, "not judged"))})
        mild = [finding for finding in found if finding not in grave]
        if mild:
            ET.SubElement(case, "system-out").text = "\n\n".join(map(_words, mild))
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _message(found: list[Finding]) -> str:
    return _clean("; ".join(finding.summary for finding in found))


def _words(finding: Finding) -> str:
    said = (finding.summary, *finding.evidence, f"→ {finding.remedy}")
    return "\n".join(map(_clean, said))


def _clean(text: str) -> str:
    """On one line, with nothing in it that a terminal would obey or XML does not take."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", safe(text))

"""Findings as SARIF 2.1.0 (OASIS), which code hosts and editors show: rules, results, and what could not be judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from hostinspect import __version__
from hostinspect.doctor.check import Check, Doctor, Finding, Severity
from hostinspect.facts import Gap
from hostinspect.render.text import safe

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: dict[Severity, str] = {"critical": "error", "error": "error", "warning": "warning", "info": "note"}


def render_sarif(answer: Doctor, checks: Mapping[str, Check]) -> str:
    """One run. A subject is no place in a file, so it is a logical location (3.33)."""
    ran = [checks[result.id] for result in answer.checks]
    positions = {check.id: n for n, check in enumerate(ran)}
    run = {
        "tool": {
            "driver": {"name": "hostinspect", "semanticVersion": _semantic(__version__), "rules": [*map(_rule, ran)]}
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "endTimeUtc": answer.collected_at,
                "toolExecutionNotifications": [*map(_notification, answer.gaps)],
            }
        ],
        "results": [_result(finding, positions[finding.id]) for finding in answer.findings],
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _semantic(version: str) -> str:
    """The version as semver.org has it: `0.1.0.dev0` is `0.1.0`."""
    found = re.match(r"\d+\.\d+\.\d+", version)
    return found[0] if found else "0.0.0"


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": " ".join(check.explanation.split()) or check.title},
        "help": {"text": f"See {check.docs}"},
        "defaultConfiguration": {"level": _LEVELS[check.severity]},
        "properties": {"severity": check.severity, "tags": [check.family]},
    }


def _result(finding: Finding, position: int) -> dict[str, Any]:
    said = [finding.summary, *finding.evidence, f"Remedy: {finding.remedy}"]
    return {
        "ruleId": finding.id,
        "ruleIndex": position,
        "level": _LEVELS[finding.severity],
        "message": {"text": "\n".join(map(safe, said))},
        "locations": [
            {
                "logicalLocations": [
                    {
                        "name": safe(finding.subject),
                        "fullyQualifiedName": safe(f"{finding.kind}/{finding.subject}"),
                        "kind": finding.kind,
                    }
                ]
            }
        ],
        "partialFingerprints": {"subject/v1": safe(f"{finding.id}:{finding.kind}:{finding.subject}")},
        "properties": {"severity": finding.severity, "remedy": safe(finding.remedy)},
    }


def _notification(gap: Gap) -> dict[str, Any]:
    return {
        "level": "note" if gap.minor else "warning",
        "message": {"text": safe(f"{gap.subject}: {gap.why} → {gap.remedy}")},
    }

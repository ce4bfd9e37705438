"""A snapshot that may be shown to strangers: nothing of the host is in it by name, and all is as it was."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hostinspect.redaction import WORDS
from tests.lab.host import LabHost
from tests.live.report import COMMAND, hostinspect, report

SECRETS = ("s3cret-pa55word", "deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef", "acme-corp.example")


@pytest.fixture(scope="module")
def host(demo_host: LabHost) -> Iterator[LabHost]:
    """The demo host, with a container that has more to hide."""
    demo_host.run(["mkdir", "-p", "/srv/acme-corp.example"])
    password, token, name = SECRETS
    options = {
        "--name": "acme-payroll",
        "--hostname": "payroll",
        "--label": f"password={password}",
        "--label=t": token,
        "--volume": f"/srv/{name}:/home/ceo/{name}:ro",
        "--env": f"PASSWORD={password}",
    }
    demo_host.run(
        [
            "docker",
            "run",
            "--detach",
            *(f"{option}={value}" for option, value in options.items()),
            "lab/base",
            "sleep",
            "999",
        ]
    )
    yield demo_host
    demo_host.run(["docker", "rm", "-f", "acme-payroll"])


def content(host: LabHost, path: str, *options: str) -> tuple[str, Any]:
    """A snapshot taken with `options`, as text and as what it says."""
    done = hostinspect(host, "snapshot", "-o", path, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    packed = host.run(["base64", "-w0", path]).stdout
    text = gzip.decompress(base64.b64decode(packed)).decode()
    return text, json.loads(text)


def names_of(topology: Any) -> set[str]:
    """What in a report is the host's own: names, addresses, last parts of paths that are not the system's words."""
    found = {topology["host"]["hostname"], *SECRETS, "acme-payroll", "payroll", "ceo"}
    for container in topology["containers"]:
        found |= {container["name"], *(end[key] for end in container["endpoints"] for key in ("ip", "ip6", "mac"))}
    for network in topology["networks"]:
        found |= {network["name"], *(subnet["gateway"] for subnet in network["subnets"])}
    for link in topology["links"]:
        found |= {link["mac"], *link["addresses"]}
    found |= {volume["name"] for volume in topology["volumes"] if not volume["anonymous"]}
    system = re.compile(r"(127\.|0\.0\.0\.0|::1?$|00:00:00:00:00:00)")
    return {name for name in found if name and name.lower() not in WORDS and not system.match(name)}


def test_no_name_and_no_address_is_left(host: LabHost) -> None:
    secrets = names_of(report(host))
    assert len(secrets) > 50
    plain, _ = content(host, "/tmp/plain.snapshot")
    redacted, _ = content(host, "/tmp/redacted.snapshot", "--redact")
    host.run(["rm", "/tmp/plain.snapshot", "/tmp/redacted.snapshot"])
    bounded = {name: re.compile(rf"(?<![\w.:-]){re.escape(name)}(?![\w:-]|\.\w)") for name in secrets}
    assert sum(bool(pattern.search(plain)) for pattern in bounded.values()) > 50
    assert [name for name, pattern in bounded.items() if pattern.search(redacted)] == []


# The same facts as they are and redacted: between two looks something may come or go.
_BOTH = """
from hostinspect import redaction
from hostinspect.collectors import collect
from hostinspect.snapshot import write_snapshot

facts = collect(image_layers=True, health=True)
write_snapshot(facts, "/tmp/plain.snapshot")
write_snapshot(redaction.redact(facts), "/tmp/redacted.snapshot")
"""


def test_what_belongs_together_still_does(host: LabHost) -> None:
    """The report of a redacted snapshot has the same shape: nothing but names and addresses is other than it was."""
    host.run([COMMAND[0], "-c", _BOTH])
    before, after = (report(host, "--from", f"/tmp/{kind}.snapshot") for kind in ("plain", "redacted"))
    host.run(["rm", "/tmp/plain.snapshot", "/tmp/redacted.snapshot"])
    shapes = _shape(after), _shape(before)
    for part, found in shapes[0].items():
        assert found == shapes[1][part], part
    networks = {c["id"]: {end["network_id"] for end in c["endpoints"]} for c in before["containers"]}
    assert {c["id"]: {end["network_id"] for end in c["endpoints"]} for c in after["containers"]} == networks
    for topology in (before, after):
        for network in topology["networks"]:
            for subnet in network["subnets"]:
                assert _is_in(subnet["gateway"], subnet["subnet"])
    renamed = {c["name"] for c in after["containers"]}
    assert not renamed & {c["name"] for c in before["containers"]}


def _is_in(address: str | None, subnet: str) -> bool:
    import ipaddress

    return address is None or ipaddress.ip_address(address) in ipaddress.ip_network(subnet)


def _shape(topology: Any) -> Any:
    """What redaction leaves alone, sorted by what it leaves alone."""
    return {
        "containers": sorted(
            [
                container["id"],
                container["state"],
                container["pid"],
                container["netns"],
                container["shares_netns_with"],
                sorted(
                    [end["interface"], end["host_link"], end["network_id"], end["endpoint_id"], end["prefix_len"]]
                    for end in container["endpoints"]
                ),
                sorted([p["proto"], p["container_port"], p["host_port"], p["via"]] for p in container["ports"]),
                sorted([m["type"], m["rw"], m["propagation"]] for m in container["mounts"]),
                len((container["overlay"] or {"lower": ()})["lower"]),
                len(container["drift"]),
            ]
            for container in topology["containers"]
        ),
        "networks": sorted(
            [n["id"], n["driver"], n["internal"], sorted(n["containers"])] for n in topology["networks"]
        ),
        "links": sorted(
            [link["netns"], link["ifindex"], link["kind"], link["peer"] and link["peer"]["ifindex"], link["container"]]
            for link in topology["links"]
        ),
        "bridges": sorted(
            [b["network"] or "", sorted(p["container"] or "" for p in b["ports"])] for b in topology["bridges"]
        ),
        "rules": [[r["chain"], r["position"], r["verdict"], r["container"]] for r in topology["nat_rules"]],
        "volumes": sorted(sorted(u["container"] for u in v["used_by"]) for v in topology["volumes"]),
        "gaps": [[gap["collector"], gap["why"]] for gap in topology["gaps"]],
    }


def test_raw_has_what_the_parsers_saw_and_the_same_facts(host: LabHost) -> None:
    _, raw = content(host, "/tmp/raw.snapshot", "--raw")
    sources = {entry["source"]: base64.b64decode(entry["content"]) for entry in raw["raw"]}
    assert sources["/proc/1/stat"].startswith(b"1 (")
    assert any(re.fullmatch(r"request 18 of netlink protocol 0 in net:\[\d+\]", source) for source in sources)
    record = next(s for s in sources if s.endswith("/config.v2.json") and b"acme-payroll" in sources[s])
    assert json.loads(sources[record])["Name"] == "/acme-payroll"
    assert any(source.endswith("/local-kv.db") for source in sources)
    assert SECRETS[0] in base64.b64decode(next(e["content"] for e in raw["raw"] if e["source"] == record)).decode()
    assert report(host, "--from", "/tmp/raw.snapshot")["containers"] == report(host)["containers"]
    host.run(["rm", "/tmp/raw.snapshot"])


def test_raw_is_not_redacted(host: LabHost) -> None:
    done = hostinspect(host, "snapshot", "-o", "/tmp/no.snapshot", "--raw", "--redact")
    assert done.returncode == 2
    assert "--raw" in done.stderr
    assert host.run(["sh", "-c", "ls /tmp/no.snapshot* 2>/dev/null || true"]).stdout == ""

"""A host on which a container, and whoever wrote its records, has prepared everything against who looks at it.

Each question is asked in each form: there is an answer, with the exit code that the contract has for it, in bounded
time; nothing in it is obeyed by a terminal or breaks out of its form; nothing from outside is in it; and of all others
it says what it said before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml

from tests.drawings import draw_dot
from tests.lab.host import LabHost
from tests.live.hostile_lab import CANARY, NASTY, OUTSIDE, hung, id_of, prepare
from tests.live.report import DEEP_QUESTIONS, QUESTIONS, parts_that_differ

EVIL: dict[tuple[str, ...], tuple[str, ...]] = {
    ("diff", "evil"): ("table", "json", "yaml"),
    ("diff", "evil", "--null"): ("table",),
    ("container", "evil"): ("text", "json", "yaml", "docker"),
    ("networks", "evilnet"): ("table", "json", "yaml"),
    ("volumes", "evilvol"): ("table", "json", "yaml"),
    ("report", "--verbose"): ("tree",),
    ("links", "--all", "--verbose"): ("table",),
    ("whois", "evil", "evilvol", f"/srv/{NASTY}", "e\x1b[1m\u202e", "172.17.0.5"): ("text", "json", "yaml"),
    **dict.fromkeys(DEEP_QUESTIONS, ("table", "json")),
}

# Each question in a process of its own, as a shell would start it; what is loaded is loaded once. One that has no
# answer in 30 seconds is ended by SIGALRM.
_ASK = """
import json, os, signal, sys, tempfile
from hostinspect.cli.app import run
import hostinspect.collectors, hostinspect.correlate
answers = []
for question in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            signal.alarm(30)
            code = 99
            try:
                code = run(question)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "surrogateescape"))
        answers.append((code, *texts))
json.dump(answers, sys.stdout)
"""


class Answer(NamedTuple):
    code: int
    stdout: str
    stderr: str


def ask(host: LabHost, *questions: Sequence[str], timeout: float = 120) -> list[Answer]:
    """The answers, all within a time that only what hangs takes."""
    done = host.run([sys.executable, "-c", _ASK], input=json.dumps(questions), timeout=timeout, env={"PYTHONPATH": "."})
    return [Answer(*answer) for answer in json.loads(done.stdout)]


def ask_json(host: LabHost, *question: str) -> Any:
    [answer] = ask(host, [*question, "-o", "json"])
    return json.loads(answer.stdout)


def check(question: Sequence[str], answer: Answer, codes: Sequence[int] = (0,)) -> None:
    """What holds for whatever is asked of whatever host."""
    told = answer.stdout + answer.stderr
    assert answer.code in codes, (question, answer.code, answer.stderr)
    assert "Traceback" not in told and "bug in hostinspect" not in told, (question, answer.stderr)
    assert told.count(CANARY) == 0, question
    if "--null" not in question:
        assert told.replace("\n", "").isprintable(), question
    output = question[-1]
    if output in ("json", "sarif", "docker"):
        json.loads(answer.stdout)
    elif output == "yaml":
        yaml.load(answer.stdout, Loader=yaml.CSafeLoader)
    elif output == "junit":
        ElementTree.fromstring(answer.stdout)
    elif output == "mermaid":
        assert "\nflowchart " in answer.stdout


class Lab(NamedTuple):
    host: LabHost
    before: dict[str, Any]  # the report
    findings: list[Any]  # of the doctor


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with LabHost() as host:
        host.seed()
        before, findings = ask_json(host, "report"), ask_json(host, "doctor")["findings"]
        prepare(host)
        yield Lab(host, before, findings)


def test_every_question_in_every_form(lab: Lab) -> None:
    """In the first form from the host itself, in the others from a snapshot of it, where that has an answer."""
    path = "/tmp/hostile.snapshot"
    [done] = ask(lab.host, ["snapshot", "-o", path])
    assert done == (0, "", "")
    questions = []
    for question, outputs in {**QUESTIONS, **EVIL}.items():
        from_file = () if question[0] == "diff" or {"--size", "--history"} & {*question} else ("--from", path)
        questions += [[*question, *(from_file if number else ()), "-o", o] for number, o in enumerate(outputs)]
    for asked, answer in zip(questions, ask(lab.host, *questions), strict=True):
        # Of a tree deeper than any path is told that not all of it was compared.
        codes = (3,) if asked[:2] == ["diff", "evil"] else (0, 1) if asked[0] == "doctor" else (0,)
        check(asked, answer, codes)
    as_json, as_yaml = ask(lab.host, *(["report", "-o", output, "--from", path] for output in ("json", "yaml")))
    assert yaml.load(as_yaml.stdout, Loader=yaml.CSafeLoader) == json.loads(as_json.stdout)
    lab.host.run(["rm", path])


def test_a_drawing_of_it_is_drawn(lab: Lab) -> None:
    [answer] = ask(lab.host, ["report", "-o", "dot"])
    assert draw_dot(answer.stdout).nodes


def test_of_all_others_the_same_is_said(lab: Lab) -> None:
    after = ask_json(lab.host, "report")
    for family in ("containers", "networks", "volumes", "bridges"):
        key = "name" if family == "volumes" else "id"
        said = {thing[key]: thing for thing in after[family]}
        for thing in lab.before[family]:
            differ = parts_that_differ(thing, said[thing[key]])
            # A rule has been put before those that are later in its chain.
            assert not [path for path in differ if not path.endswith(".position")], (family, thing["name"])
    assert {c["name"] for c in after["containers"]} - {c["name"] for c in lab.before["containers"]} == {"evil"}
    assert after["gaps"] == lab.before["gaps"]


def test_the_doctor_is_not_misled(lab: Lab) -> None:
    found = ask_json(lab.host, "doctor")["findings"]
    others = [finding for finding in found if "evil" not in json.dumps(finding)]
    assert [(f["id"], f["subject"]) for f in others] == [(f["id"], f["subject"]) for f in lab.findings]


def test_a_process_is_of_the_container_that_the_kernel_has_it_in(lab: Lab) -> None:
    """Whatever it is called, and whoever's id is in the names of cgroups that it has made."""
    host, evil = lab.host, id_of(lab.host, "evil")
    members = host.run(["grep", "-l", f"/docker/{evil}", "-r", "/proc", "--include=cgroup", "-s"], check=False).stdout
    pids = sorted({path.split("/")[2] for path in members.split() if path.split("/")[2].isdecimal()})
    comms = {*host.run(["cat", *(f"/proc/{pid}/comm" for pid in pids)]).stdout.splitlines()}
    assert {"dockerd", "docker-proxy", "containerd-shim", "a) R 1 (b", "stuck"} <= comms
    for told in ask_json(host, "whois", *pids)["keys"]:
        [match] = [match for match in told["matches"] if match["kind"] == "pid"]
        assert match["owner"]["id"] == evil, told["key"]


def test_a_namespace_that_it_made_is_its_own(lab: Lab) -> None:
    host = lab.host
    report = ask_json(host, "report")
    nested = {link["netns"] for link in report["links"] if link["ifname"] == "veth1"}
    found = [n for n in report["netns"] if n["inode"] in nested and not n["containers"] and n["pids"]]
    assert found
    for namespace in found:
        answer = ask_json(host, "whois", f"net:[{namespace['inode']}]")
        assert answer["keys"][0]["matches"][0]["owner"]["name"] == "evil"
    first = ask_json(host, "whois", "172.17.0.5")["keys"][0]["matches"][0]
    assert first["owner"]["name"] == "web1"


def test_who_may_see_little_is_told_so(lab: Lab) -> None:
    lab.host.run(["mount", "-o", "remount,hidepid=2", "/proc"])
    try:
        [answer] = ask(lab.host, ["report", "-o", "json"])
        check(["report", "-o", "json"], answer)
        assert len(json.loads(answer.stdout)["containers"]) == len(lab.before["containers"]) + 1
    finally:
        lab.host.run(["mount", "-o", "remount,hidepid=0", "/proc"])


ASKED_OF_THE_HUNG = (
    *(["report"], ["containers"], ["container", "web1"], ["networks"], ["bridges"], ["links"], ["ports"], ["nat"]),
    *(["volumes"], ["volumes", "--size"], ["layers"], ["layers", "--size"], ["diff", "web1"], ["doctor"]),
    *(["whois", "web1"], ["trace", "8080"], ["snapshot", "-o", "/tmp/hung.snapshot"]),
)


@pytest.mark.parametrize("taken", [False, True], ids=["request waits", "request was taken"])
def test_a_hung_data_root_is_a_gap(lab: Lab, taken: bool) -> None:
    """Where daemon.json has it, through a link: of the rest, which is the kernel's, all is told."""
    host = lab.host
    with hung(host, "/srv/hung", taken=taken):
        host.run(["ln", "-s", "/srv/hung/var", "/srv/way"])
        host.run(["sh", "-c", """echo '{"data-root": "/srv/way/docker"}' >/etc/docker/daemon.json"""])
        try:
            questions = ASKED_OF_THE_HUNG[-4:] if taken else ASKED_OF_THE_HUNG
            for question, answer in zip(questions, ask(host, *questions), strict=True):
                check(question, answer, (0, 1, 3) if question[0] in ("bridges", "links", "nat", "trace") else (3,))
            answer = ask_json(host, "report")
            assert any("may not answer" in gap["why"] for gap in answer["gaps"])
            assert {b["name"] for b in answer["bridges"]} >= {b["name"] for b in lab.before["bridges"]}
        finally:
            host.run(["rm", "/srv/way", "/etc/docker/daemon.json"])


def test_a_hung_volume_is_a_gap_where_it_is_measured_and_nowhere_else(lab: Lab) -> None:
    host = lab.host
    with hung(host, "/var/lib/docker/volumes/evilvol/_data"), hung(host, f"{OUTSIDE}/hung"):
        questions = [["report"], ["volumes"], ["volumes", "--size"], ["layers", "--size"], ["snapshot", "-o", "/tmp/s"]]
        for question, answer in zip(questions, ask(host, *questions), strict=True):
            check(question, answer, (3,) if question == ["volumes", "--size"] else (0,))
        [doctor] = ask(host, ["doctor", "-o", "json"])
        check(["doctor", "-o", "json"], doctor, (0, 1))

"""What holds for every command: its forms, its width, its exit codes, a snapshot, a daemon that hangs, a plain user."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from subprocess import CompletedProcess

import jsonschema
import pytest
import yaml
from rich.cells import cell_len

from hostinspect.cli.commands import COMMANDS
from hostinspect.render.schema import ANSWERS, answer_schema
from tests.lab.host import LabHost
from tests.live.report import COMMAND, DEEP_QUESTIONS, QUESTIONS, hostinspect

DIFF, *_ = DEEP_QUESTIONS
HOSTILE = "a\x1b[31m\x07\x9b2J\u202eb\u2066\n\t\"'`|<b>&#35; --]"

pytestmark = pytest.mark.usefixtures("snapshot")
each_question = pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)


@pytest.fixture(scope="module")
def snapshot(demo_host: LabHost) -> Iterator[str]:
    """A snapshot of the demo host, which nobody may read but root, and a copy that everybody may."""
    path = "/tmp/demo.snapshot"
    done = hostinspect(demo_host, "snapshot", "-o", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    demo_host.run(["install", "-m", "644", path, f"{path}.open"])
    yield path
    demo_host.run(["rm", path, f"{path}.open"])


@pytest.fixture(scope="module")
def from_file(demo_host: LabHost, snapshot: str) -> Callable[..., CompletedProcess[str]]:
    """A question's answer from the snapshot, in a form; nothing changes it, so it is asked once."""

    @cache
    def asked(question: tuple[str, ...], output: str) -> CompletedProcess[str]:
        return hostinspect(demo_host, *question, "-o", output, "--from", snapshot)

    return asked


def test_every_command_is_asked() -> None:
    asked = {question[0] for question in (*QUESTIONS, *DEEP_QUESTIONS)}
    elsewhere = {"compare", "watch"}  # test_compare.py, test_watch.py: they are about two looks
    assert asked == {*COMMANDS} - elsewhere - {"snapshot", "schema", "completion"}
    assert asked == {*ANSWERS} - elsewhere


@each_question
def test_json_and_yaml_are_what_the_schema_says(
    question: tuple[str, ...], from_file: Callable[..., CompletedProcess[str]]
) -> None:
    answer = json.loads(from_file(question, "json").stdout)
    assert answer["schema_version"]
    jsonschema.validate(answer, answer_schema(question[0]), cls=jsonschema.Draft202012Validator)
    assert yaml.safe_load(from_file(question, "yaml").stdout) == answer


@each_question
def test_text_fits_the_terminal_and_nothing_in_it_is_obeyed(
    question: tuple[str, ...], demo_host: LabHost, snapshot: str
) -> None:
    for width in (80, 132):
        argv = [*COMMAND, *question, "--from", snapshot]
        text = demo_host.run(argv, env={"COLUMNS": str(width), "LANG": "C.UTF-8"}).stdout
        assert max(map(cell_len, text.splitlines())) <= width
        assert text.replace("\n", "").isprintable()


@each_question
def test_a_snapshot_gives_the_same_bytes_as_the_host_and_to_anybody(
    question: tuple[str, ...],
    demo_host: LabHost,
    snapshot: str,
    from_file: Callable[..., CompletedProcess[str]],
) -> None:
    for output in QUESTIONS[question]:
        told = from_file(question, output)
        assert (told.returncode, told.stderr) == (0, "")
        as_nobody = hostinspect(demo_host, *question, "-o", output, "--from", f"{snapshot}.open", user="nobody")
        assert as_nobody.stdout == told.stdout
        live = hostinspect(demo_host, *question, "-o", output)
        assert (live.returncode, live.stderr) == (0, "")
        assert _without_times(live.stdout) == _without_times(told.stdout)


_MOVES = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+Z|\b\d+ ?(s|m|minutes?|seconds?)\b|\b\d+\b")


def _without_times(text: str) -> list[str]:
    """Without the time of the report, ages, and counters, which packets of the host's own move; and what they part."""
    return [" ".join(_MOVES.sub("", line).split()) for line in text.splitlines()]


@pytest.mark.parametrize("question", DEEP_QUESTIONS, ids=" ".join)
def test_what_is_in_no_snapshot_is_said(question: tuple[str, ...], demo_host: LabHost, snapshot: str) -> None:
    done = hostinspect(demo_host, *question, "--from", snapshot)
    assert done.returncode == 3 and "snapshot" in done.stderr
    assert hostinspect(demo_host, *question).returncode == 0


@pytest.mark.parametrize("question", [*QUESTIONS, *DEEP_QUESTIONS], ids=" ".join)
def test_an_answer_while_the_daemon_hangs(question: tuple[str, ...], demo_host: LabHost) -> None:
    before = hostinspect(demo_host, *question, "-o", "json")
    with demo_host.frozen_dockerd():
        during = hostinspect(demo_host, *question, "-o", "json")
    assert (during.returncode, during.stderr) == (0, "")
    assert _without_times(before.stdout.replace('"running"', '"not responding"')) == _without_times(
        during.stdout.replace('"running"', '"not responding"')
    )


@pytest.mark.parametrize("question", [*QUESTIONS, *DEEP_QUESTIONS], ids=" ".join)
def test_a_plain_user_is_told_what_was_not_seen(question: tuple[str, ...], demo_host: LabHost) -> None:
    done = hostinspect(demo_host, *question, user="nobody")
    assert done.returncode == 3
    assert "could not be seen" in done.stderr or "not all" in done.stderr
    assert "run as root" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr and "bug" not in done.stderr


@pytest.mark.parametrize(
    "question",
    [("container", "wbe1"), ("networks", "my_nte"), ("volumes", "myvol1"), ("diff", "wbe1"), ("whois", "wbe1")],
)
def test_nobody_of_that_name_is_1_and_suggests_one(question: tuple[str, ...], demo_host: LabHost) -> None:
    done = hostinspect(demo_host, *question)
    assert done.returncode == 1
    said = done.stdout if question[0] == "whois" else done.stderr  # its answer is what it looked at
    assert {"web1", "my_net", "myvol01"} & {*said.rpartition("Did you mean")[2].replace("?", " ").split()}


def test_names_are_completed(demo_host: LabHost, snapshot: str) -> None:
    def completed(*words: str) -> set[str]:
        env = {
            "_HOSTINSPECT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("hostinspect", *words)),
            "COMP_CWORD": str(len(words)),
        }
        done = demo_host.run([*COMMAND], env=env, check=False)
        assert done.stderr == ""
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    docker = demo_host.docker("ps", "--all", "--format", "{{.Names}}").split()
    assert completed("container", "") == {*docker}
    assert completed("container", "web1", "w") == {name for name in docker if name.startswith("w")} - {"web1"}
    assert completed("diff", "m") == {name for name in docker if name.startswith("m")}
    assert completed("networks", "m") == {"my_net", "mv_net"}
    assert completed("volumes", "") == {*demo_host.docker("volume", "ls", "-q").split()} - {
        name for name in demo_host.docker("volume", "ls", "-q").split() if len(name) == 64
    }
    assert completed("whois", "my") == {"my_net", "myvol01", "mysql_app"}
    assert completed("container", "--from", snapshot, "") == {*docker}
    assert completed("container", "--from", "/nowhere", "") == set()


def test_hostile_names_reach_no_terminal() -> None:
    """A container with such a label, a volume with such options, a bind mount of such a path, a link of such a name."""
    path = "/srv/a\x1b[31m\x07\u202eb'`|<b>;--]"
    with LabHost() as host:
        host.seed()
        host.run(["mkdir", path])
        host.docker(
            "volume", "create", "--label", f"x={HOSTILE}", "--opt", "type=tmpfs", "--opt", f"device={HOSTILE}", "evil"
        )
        run = ("run", "--detach", "--name", "evil1", "--label", f"y={HOSTILE}", "--volume", f"{path}:/x")
        host.docker(*run, "lab/base", "sh", "-c", "touch $0; sleep 1d", f"/{HOSTILE.replace('/', '')}")
        host.run(["ip", "link", "add", "e\x1b[1m\u202e", "type", "bridge"])
        for question, outputs in {**QUESTIONS, DIFF: ("table",)}.items():
            names = {"container": ("evil1",), "diff": ("evil1",), "whois": (path, "e\x1b[1m\u202e")}
            names["volumes"] = ("evil",) if len(question) > 1 else ()
            argv = (question[0], *names.get(question[0], question[1:]), "--verbose")
            for output in outputs:
                done = hostinspect(host, *argv, "--output", output)
                assert done.returncode == 0, (argv, done.stderr)
                assert (done.stdout + done.stderr).replace("\n", "").isprintable(), (argv, output)

"""The command line: what is loaded, what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jsonschema
import pytest
import yaml
from msgspec.structs import replace

from hostinspect import __version__
from hostinspect.cli import places, report, terminal
from hostinspect.cli.app import run
from hostinspect.cli.commands import COMMANDS
from hostinspect.cli.help import HELP
from hostinspect.cli.parameters import Option
from hostinspect.facts import Gap
from hostinspect.render.schema import answer_schema, render_schema
from hostinspect.topology import Topology
from tests.unit.sample import demo, make_container

MAJOR = Gap(collector="sockets", subject="open files of 3 processes", why="Permission denied", remedy="run as root")
REPO = Path(__file__).parents[2]

# A process of its own that reports on the sample instead of on this machine, and says what it loaded.
HARNESS = """
import os, sys
sys.modules["typing_extensions"] = None  # mypy brings it, and msgspec loads it where it is
import hostinspect.collectors, hostinspect.correlate
from tests.unit.factory import host_with_web
from tests.unit.sample import demo
hostinspect.collectors.collect = lambda data_roots, **more: host_with_web()
hostinspect.correlate.correlate = lambda facts, index, topology=demo(): topology
if "--list-modules" in sys.argv:
    sys.argv.remove("--list-modules")
    leave = os._exit
    os._exit = lambda code: (print(*sorted(sys.modules), file=sys.stderr, flush=True), leave(code))
from hostinspect.cli import main
main()
"""

Reported = Callable[[Topology], None]


@pytest.fixture(autouse=True)
def reported(monkeypatch: pytest.MonkeyPatch) -> Reported:
    """What the host turns out to be: the demo, or what this is called with."""

    def use(topology: Topology) -> None:
        monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **more: data_roots, raising=False)
        monkeypatch.setattr("hostinspect.correlate.correlate", lambda facts, index: topology)

    for name in ("COLUMNS", "NO_COLOR", "LC_ALL", "LC_CTYPE", "HOSTINSPECT_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    use(demo())
    return use


def _process(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "LANG": "C.UTF-8", **env}
    return subprocess.run(
        [sys.executable, "-c", HARNESS, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- which command, which options ---


@pytest.mark.parametrize(
    "arguments",
    [["-o", "json"], ["report", "-o", "json"], ["-o", "json", "report"], ["-ojson"], ["--output=json", "-q"]],
)
def test_json_however_it_is_asked_for(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    jsonschema.validate(json.loads(out), answer_schema("report"), cls=jsonschema.Draft202012Validator)
    assert err == ""


def test_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["host"]["hostname"] == "web-01"


@pytest.mark.parametrize("arguments", [[], ["report"], ["-o", "tree"], ["--color", "auto"]])
def test_a_tree_by_default(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("web-01 · Debian GNU/Linux 12 (bookworm), Linux 6.1.0-28-amd64 · docker 28.5.2")
    assert "└─ mv1" in out and "\x1b" not in out


def test_verbose_and_quiet_reach_the_tree(capsys: pytest.CaptureFixture[str]) -> None:
    run([])
    assert "\nnot seen\n" in capsys.readouterr().out
    run(["-v"])
    assert " lower    /var/lib/docker/overlay2/" in capsys.readouterr().out
    run(["-q"])
    assert "\nnot seen\n" not in capsys.readouterr().out


def test_data_roots_reach_the_collectors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Sequence[str]] = []
    monkeypatch.setattr("hostinspect.collectors.collect", lambda data_roots, **_: seen.append(data_roots))
    assert run(["-q", "--data-root", str(tmp_path), "--data-root", "/"]) == 0
    assert seen == [(str(tmp_path), "/")]


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert capsys.readouterr().out == render_schema("report")


def test_version_and_help_without_loading_anything() -> None:
    for argument, text in (("--version", f"hostinspect {__version__}\n"), ("--help", HELP), ("-h", HELP)):
        assert _said_without_loading_anything([argument]) == text


def test_completion_of_commands_options_and_values_without_loading_anything() -> None:
    for words, first in (
        ("hostinspect re", "plain,report\n"),
        ("hostinspect report --co", "plain,--color\n"),
        ("hostinspect report -o js", "plain,json\n"),
    ):
        env = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_HOSTINSPECT_COMPLETE": "bash_complete"}
        assert _said_without_loading_anything([], env) == first


def _said_without_loading_anything(arguments: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """What the command says on stdout, if it loads neither click nor what takes long of Python's own."""
    script = """if True:
        import os, sys
        before = {*sys.modules}
        from hostinspect.cli import main
        os._exit = sys.exit
        try: main()
        finally: assert not {"click", "typing", "re", "msgspec"} & ({*sys.modules} - before)"""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=env, cwd=REPO, capture_output=True, text=True, check=True).stdout


def test_a_report_loads_nothing_that_takes_long() -> None:
    script = """if True:
        import sys
        sys.modules["typing_extensions"] = None
        import hostinspect.cli.app, hostinspect.cli.report, hostinspect.cli.request, hostinspect.cli.reading
        import hostinspect.collectors.tour, hostinspect.collectors.engines
        import hostinspect.correlate, hostinspect.render.json
        print(*sorted(sys.modules))"""
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "hostinspect.kernel.nftables.messages" in loaded
    slow = {
        "click",
        "inspect",
        "gettext",
        "locale",
        "threading",
        "pathlib",
        "urllib.parse",
        "ctypes",
        "subprocess",
        "json",
        "yaml",
        "rich",
        "difflib",
        "dataclasses",
        "logging",
    }
    assert not slow & {*loaded}


def test_version_and_help_by_click_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, text in (("--version", f"hostinspect {__version__}\n"), ("--help", HELP), ("-h", HELP)):
        assert run([argument]) == 0
        assert capsys.readouterr().out == text


def test_help_names_every_command_and_option() -> None:
    assert re.findall(r"^  ([a-z]+) ", HELP.split("Commands:")[1].split("\n\n")[0], re.M) == [*COMMANDS]
    options = {name for p in report.report.parameters if isinstance(p, Option) for name in p.names} | {
        "--version",
        "-h",
        "--help",
    }
    told = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", HELP.split("Options of")[1].split("Exit status")[0]))
    assert told == options
    assert max(map(len, HELP.splitlines())) <= 80


# --- wrong usage ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["repot"], "No such command: repot. Did you mean report?"),
        (["frobnicate"], "No such command: frobnicate. There are: report, "),
        (["-o", "xml"], "'xml' is not one of"),
        (["--frob"], "No such option"),
        (["report", "extra"], "unexpected extra argument"),
        (["--data-root"], "requires an argument"),
        (
            ["--data-root", "/nowhere"],
            "/nowhere does not exist. Name the directory that `docker info` calls Docker Root",
        ),
        (["--data-root", "/etc/passwd"], "/etc/passwd is not a directory"),
        (["--data-root", "a\0b"], "does not exist"),
    ],
)
def test_wrong_usage_is_2_and_says_what_to_do(
    arguments: Sequence[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err and "Traceback" not in err


def test_a_data_root_that_may_not_be_looked_at_is_no_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        assert places._of_host("/root/docker") == ""


# --- what could not be seen ---


@pytest.mark.parametrize("output", ["tree", "json", "yaml"])
def test_a_grave_gap_is_3_and_the_answer_is_printed_all_the_same(
    output: str, reported: Reported, capsys: pytest.CaptureFixture[str]
) -> None:
    reported(replace(demo(), gaps=(MAJOR,)))
    assert run(["-o", output]) == 3
    out, err = capsys.readouterr()
    assert "web-01" in out and "open files of 3 processes" in out
    assert err == "hostinspect: 1 thing could not be seen; the gaps at the end of the output say why\n"
    assert run(["-q", "-o", output]) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("output", ["dot", "mermaid"])
def test_a_grave_gap_is_a_note_in_a_picture(
    output: str, reported: Reported, capsys: pytest.CaptureFixture[str]
) -> None:
    reported(replace(demo(), gaps=(MAJOR,)))
    assert run(["-o", output]) == 3
    out, err = capsys.readouterr()
    assert "not seen: sockets" in out
    assert err == "hostinspect: 1 thing could not be seen; the notes in the picture say why\n"
    assert run(["-q", "-o", output]) == 3
    out, err = capsys.readouterr()
    assert "not seen: sockets" not in out and err == ""


def test_what_mermaid_does_not_draw_is_said(reported: Reported, capsys: pytest.CaptureFixture[str]) -> None:
    reported(replace(demo(), containers=tuple(make_container(f"c{i}") for i in range(1500))))
    assert run(["-o", "mermaid"]) == 0
    out, err = capsys.readouterr()
    assert len(out) > 50_000
    assert err.startswith("hostinspect: this is more than Mermaid draws by default")
    assert run(["-q", "-o", "mermaid"]) == 0
    assert capsys.readouterr().err == ""


def test_dot_is_utf_8_whatever_the_locale() -> None:
    assert "→" in _process("-o", "dot", PYTHONIOENCODING="latin-1").stdout


def test_a_minor_gap_is_no_failure(reported: Reported, capsys: pytest.CaptureFixture[str]) -> None:
    reported(replace(demo(), gaps=(replace(MAJOR, minor=True),)))
    assert run([]) == 0
    assert capsys.readouterr().err == ""


# --- the end of a pipe, Ctrl-C, a full disk, bugs ---


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-c", HARNESS, "-o", "json"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said_in_one_line() -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO)}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-c", HARNESS], env=environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 74
    assert result.stderr == "hostinspect: the output could not be written: No space left on device\n"


def _raise(error: BaseException) -> Callable[..., None]:
    def collect(*_: object, **more: object) -> None:
        raise error

    return collect


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostinspect.collectors.collect", _raise(KeyboardInterrupt()), raising=False)
    assert run([]) == 130


@pytest.mark.parametrize("error", [KeyError("ifindex"), FileNotFoundError(2, "No such file", "/proc/x")])
def test_a_bug_is_no_answer(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hostinspect.collectors.collect", _raise(error), raising=False)
    assert run([]) == 70
    said = capsys.readouterr().err
    assert "this is a bug in hostinspect" in said and "test_cli.py:" in said and "Traceback" not in said
    monkeypatch.setenv("HOSTINSPECT_DEBUG", "1")
    assert run([]) == 70
    assert "Traceback" in capsys.readouterr().err


# --- what is loaded ---


@pytest.mark.parametrize(
    ("output", "loaded", "left"),
    [
        ("json", set(), {"rich", "yaml"}),
        ("yaml", {"yaml"}, {"rich"}),
        ("tree", {"hostinspect.render.tree"}, {"yaml", "rich"}),
        ("dot", {"hostinspect.render.dot"}, {"yaml", "rich.console", "hostinspect.render.mermaid"}),
        ("mermaid", {"hostinspect.render.mermaid"}, {"yaml", "rich.console", "hostinspect.render.dot"}),
    ],
)
def test_each_output_loads_its_own_libraries_only(output: str, loaded: set[str], left: set[str]) -> None:
    modules = set(_process("-o", output, "--list-modules").stderr.split())
    assert "hostinspect.cli.report" in modules
    assert loaded <= modules
    assert not (left | {"click", "inspect"}) & modules


@pytest.mark.parametrize("line", ["containers", "networks my_net", "ports --all", "links", "layers -v", "bridges"])
def test_a_plain_line_loads_no_click(line: str) -> None:
    for output in ([], ["-o", "json"]):
        said = _process(*line.split(), *output, "--list-modules")
        modules = {*said.stderr.split()}
        assert said.returncode == 0 and said.stdout
        assert "hostinspect.questions.inspection" in modules
        assert not {"click", "inspect", "difflib", "dataclasses"} & modules


# --- the terminal ---


class _Stream:
    def __init__(self, *, tty: bool = False, encoding: str | None = "utf-8") -> None:
        self.tty, self.encoding = tty, encoding

    def isatty(self) -> bool:
        return self.tty

    def fileno(self) -> int:
        raise OSError(9, "Bad file descriptor")


@pytest.mark.parametrize(
    ("choice", "tty", "environ", "expected"),
    [
        ("auto", True, {"TERM": "xterm"}, True),
        ("auto", False, {"TERM": "xterm"}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
    ],
)
def test_color(choice: str, tty: bool, environ: dict[str, str], expected: bool) -> None:
    assert terminal.wants_color(choice, _Stream(tty=tty), environ) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tty", "environ", "expected"),
    [(False, {}, None), (False, {"COLUMNS": "72"}, 72), (True, {"COLUMNS": "0"}, 80), (True, {"COLUMNS": "wide"}, 80)],
)
def test_width(tty: bool, environ: dict[str, str], expected: int | None) -> None:
    assert terminal.width_of(_Stream(tty=tty), environ) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environ", "encoding", "expected"),
    [
        ({"LANG": "de_DE.UTF-8"}, "utf-8", False),
        ({"LANG": "C.UTF-8"}, "utf-8", False),
        ({"LANG": "C"}, "utf-8", True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "utf-8", True),  # as Python leaves it
        ({"LC_CTYPE": "de_DE.UTF-8"}, "utf-8", False),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, "utf-8", True),
        ({}, "utf-8", True),
        ({"LANG": "de_DE.ISO-8859-1"}, "iso-8859-1", True),
        ({"LANG": "de_DE.UTF-8"}, None, True),
    ],
)
def test_ascii(environ: dict[str, str], encoding: str | None, expected: bool) -> None:
    assert terminal.wants_ascii(_Stream(encoding=encoding), environ) is expected  # type: ignore[arg-type]


def test_the_c_locale_gets_ascii() -> None:
    assert _process(LANG="C").stdout.isascii()
    assert not _process(LANG="C.UTF-8").stdout.isascii()


def test_color_always_in_a_pipe() -> None:
    assert "\x1b[1mweb-01\x1b[0m" in _process("--color", "always", COLUMNS="80").stdout
    assert "\x1b" not in _process().stdout

"""A task in a process that can be given up: what it returns, what it does without, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from mmap import mmap
from pathlib import Path

import pytest
from msgspec import Struct

from hostinspect.kernel import waiting
from hostinspect.kernel.beside import Beside
from hostinspect.kernel.limit import Limit, NothingAnswersError
from hostinspect.kernel.waiting import NoAnswerError

HERE = os.getpid()
SECONDS = 0.2


class Said(Struct):
    pid: int
    words: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = descriptors_and_children()
    yield
    assert descriptors_and_children() == before
    assert waiting.page is None


def descriptors_and_children() -> tuple[list[str], str]:
    descriptors = sorted(fd.name for fd in Path("/proc/self/fd").iterdir())
    return descriptors, Path(f"/proc/self/task/{HERE}/children").read_text()


def forever() -> None:
    """As a system call that no answer comes to."""
    os.read(os.pipe()[0], 1)


def ask(*questions: tuple[str, str], silent: tuple[str, ...]) -> Said:
    """Ask them in turn, of which the `silent` never answer; what came of each."""
    words = []
    for kind, name in questions:
        try:
            waiting.on(kind, name)
        except NoAnswerError as error:
            words.append(str(error))
            continue
        if name in silent:
            forever()
        words.append("answered")
    return Said(os.getpid(), tuple(words))


def test_what_is_returned_comes_from_another_process() -> None:
    said = Limit(SECONDS).run(lambda: ask(("a", "a1"), silent=()), Said)
    assert (said.pid != HERE, said.words) == (True, ("answered",))


def test_without_a_limit_it_is_done_here() -> None:
    assert Limit(0).run(lambda: ask(("a", "a1"), silent=()), Said).pid == HERE


def test_where_no_process_is_to_be_had_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    assert Limit(SECONDS).run(lambda: Said(os.getpid()), Said).pid == HERE


def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        Limit(SECONDS).run(lambda: 1 // 0, int)


def test_what_does_not_answer_is_left_out_and_all_else_is_asked() -> None:
    said = Limit(SECONDS).run(lambda: ask(("a", "a1"), ("a", "a2"), ("b", "b1"), silent=("a2",)), Said)
    assert said.words == ("answered", "it did not answer within 0.2 s", "answered")


def test_after_three_no_others_of_the_kind_are_asked() -> None:
    questions = [("a", f"a{number}") for number in range(5)]
    said = Limit(SECONDS).run(lambda: ask(*questions, ("b", "b1"), silent=tuple(n for _, n in questions)), Said)
    assert {*said.words[:5]} == {"others of its kind did not answer within 0.2 s, so it was not asked"}
    assert said.words[5] == "answered"


def test_the_next_task_knows_what_did_not_answer_the_first() -> None:
    limit = Limit(SECONDS)
    limit.run(lambda: ask(("a", "a1"), silent=("a1",)), Said)
    assert limit.run(lambda: ask(("a", "a1"), silent=()), Said).words == ("it did not answer within 0.2 s",)


def test_many_that_answer_slowly_are_too_much_together() -> None:
    def slowly() -> Said:
        words = []
        for number in range(1000):
            try:
                waiting.on("a", f"a{number}")
            except NoAnswerError as error:
                words.append(str(error))
                break
            time.sleep(0.9 * SECONDS)
        return Said(os.getpid(), tuple(words))

    assert "so it was not asked" in Limit(SECONDS).run(slowly, Said).words[0]


def test_many_that_answer_soon_may_take_their_time() -> None:
    """As the files of a disk whose arm has to move for each."""

    def soon() -> Said:
        for number in range(100):
            waiting.on("a", f"a{number}")
            time.sleep(SECONDS / 8)
        return Said(os.getpid(), ("all",))

    assert Limit(SECONDS).run(soon, Said).words == ("all",)


def test_one_with_much_to_say_may_take_its_time() -> None:
    """As a directory of a million names."""

    def long() -> Said:
        waiting.on("a", "a1")
        for _ in range(100):
            time.sleep(SECONDS / 8)
        return Said(os.getpid(), ("all",))

    assert Limit(SECONDS).run(long, Said).words == ("all",)


def test_who_works_does_not_wait() -> None:
    def work() -> Said:
        waiting.on("a", "a1")
        end = time.process_time() + 3 * SECONDS
        while time.process_time() < end:
            pass
        return Said(os.getpid())

    assert Limit(SECONDS).run(work, Said).words == ()


def test_where_leaving_it_out_does_not_help_it_is_said() -> None:
    def task() -> Said:
        waiting.on("a", "the last that was noted")
        waiting.on("b", "b1")
        return Said(os.getpid())

    def stubborn() -> Said:
        forever()  # before anything was noted
        return task()

    with pytest.raises(NothingAnswersError, match="what hostinspect itself is made of"):
        Limit(SECONDS).run(stubborn, Said)


def test_a_fork_of_the_task_that_is_stuck_is_seen_and_goes_too() -> None:
    pids = Path(f"/dev/shm/hostinspect-test-{HERE}")

    def beside() -> tuple[str, ...]:
        with pids.open("a") as file:
            print(os.getpid(), file=file)
        return ask(("a", "a1"), silent=("a1",)).words

    def task() -> Said:
        with closing(Beside(beside)) as other:
            return Said(os.getpid(), other.result() or ())

    try:
        said = Limit(SECONDS).run(task, Said)
        assert said.words == ("it did not answer within 0.2 s",)
        for pid in pids.read_text().split():
            while Path(f"/proc/{pid}").exists():  # it is the init's to reap
                time.sleep(0.01)
    finally:
        pids.unlink()


def test_it_has_nothing_open_that_others_wait_for() -> None:
    """Neither stdout nor stderr, which pytest has in files: a reader of a pipe would wait for its end."""

    def standard() -> list[str]:
        return [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (0, 1, 2)]

    found = Limit(SECONDS).run(standard, list[str])
    assert len({*found}) == 1 and found[0].startswith("pipe:")
    assert not {*found} & {*standard()}


def test_a_note_is_cut_and_any_name_can_be_noted() -> None:
    def task() -> Said:
        waiting.on("k" * 5000, "\udc80\ud800" + "\N{SNOWMAN}" * 5000)
        return Said(os.getpid())

    assert Limit(SECONDS).run(task, Said).pid != HERE


def test_a_question_by_descriptor_is_told_from_the_same_of_another() -> None:
    def task() -> Said:
        words = []
        for process in ("self", str(HERE)):
            try:
                waiting.on("stat", "stat", os.open(f"/proc/{process}", os.O_PATH))
            except NoAnswerError as error:
                words.append(str(error))
                continue
            if process != "self":
                forever()
            words.append("answered")
        return Said(os.getpid(), tuple(words))

    assert Limit(SECONDS).run(task, Said).words == ("answered", "it did not answer within 0.2 s")


def test_being_stopped_is_no_waiting() -> None:
    """As by Ctrl-Z: time in which neither runs does not count."""

    def task() -> Said:
        waiting.on("a", "a1")
        time.sleep(SECONDS / 2)
        return Said(os.getpid())

    parent = os.getpid()
    helper = os.fork()
    if not helper:
        time.sleep(SECONDS / 4)
        os.kill(parent, signal.SIGSTOP)
        time.sleep(3 * SECONDS)
        os.kill(parent, signal.SIGCONT)
        os._exit(0)
    said = Limit(SECONDS).run(task, Said)
    os.waitpid(helper, 0)
    assert said.words == ()


def test_what_is_being_written_can_be_read() -> None:
    """The page of another process is read at any moment: half a letter is none."""
    memory = mmap(-1, waiting.MEMORY)
    page = waiting.Page(memory, 0, (), ())
    page.note("kind", "\N{SNOWMAN}" * 10, -1)
    whole = waiting.read(memory, 0)
    assert whole is not None and whole.question == waiting.Question("kind", "\N{SNOWMAN}" * 10)
    for offset in range(waiting.SIZE):
        before, memory[offset] = memory[offset], 0xE2
        waiting.read(memory, 0)
        memory[offset] = before


# --- a whole command ---------------------------------------------------------------------------------------------

_COMMAND = """
import os, sys, time
from hostinspect.kernel import waiting
from hostinspect.kernel.limit import Limit
from hostinspect.kernel.waiting import NoAnswerError

def asked(name):
    try:
        waiting.on("kind", name)
        return True
    except NoAnswerError as error:
        print(f"{name}: {error}", flush=True)
        return False

def forever():
    os.read(os.pipe()[0], 1)

def end(code=0):
    sys.stdout.flush()
    os._exit(code)

"""


def command(script: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """What a command of these lines says and comes to, supervised; stdout and stderr are pipes."""
    body = "".join(f"    {line}\n" for line in script.strip().splitlines())
    source = f"{_COMMAND}def command():\n{body}\nsys.exit(Limit({seconds}).supervise(command))"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)


def test_what_a_command_says_is_passed_on_and_its_exit_code_is_ours() -> None:
    done = command('print("out " * 100000)\nprint("err", file=sys.stderr)\nend(3)')
    assert (done.stdout, done.stderr, done.returncode) == ("out " * 100000 + "\n", "err\n", 3)


def test_a_command_is_done_again_without_what_did_not_answer() -> None:
    done = command('if asked("one"):\n    forever()\nwaiting.rest()\ntime.sleep(3 * 0.2)\nprint("told")\nend()')
    assert (done.stdout, done.returncode) == ("one: it did not answer within 0.2 s\ntold\n", 0)


def test_a_command_may_say_how_long_it_waits() -> None:
    slow = 'asked("one")\ntime.sleep(1)\nwaiting.rest()\nprint("told")\nend()'
    for limit in ("0", "5"):
        assert command(f"waiting.limit({limit})\n{slow}").stdout == "told\n"
    done = command('waiting.limit(0.1)\nif asked("one"):\n    forever()\nend()', seconds=50)
    assert done.stdout == "one: it did not answer within 0.1 s\n"


def test_a_command_that_does_not_help_itself_is_given_up() -> None:
    done = command('waiting.page.write("kind", "one")\nforever()')
    assert "NothingAnswersError: one was asked, and nothing came for 0.2 s" in done.stderr


def test_a_command_that_is_killed_is_no_answer() -> None:
    done = command('print("half", flush=True)\nos.kill(os.getpid(), 9)')
    assert done.stdout == "half\n"
    assert done.stderr.endswith("KilledError: signal 9\n")


def test_nobody_waits_for_the_pipes_of_a_command_that_is_left_behind(tmp_path: Path) -> None:
    """As one that even SIGKILL does not end: its parent ends before it can send it."""
    there = tmp_path / "pid"
    stay = f'while os.path.exists("{there}"):\n    time.sleep(0.01)\nend()'
    done = command(f'open("{there}", "w").write(str(os.getpid()))\nos.kill(os.getppid(), 9)\n{stay}')
    left_behind = Path(f"/proc/{there.read_text()}")
    assert left_behind.exists()
    there.unlink()
    assert done.returncode == -9
    while left_behind.exists():  # its init's to reap
        time.sleep(0.01)


def test_what_cannot_be_passed_on_is_said() -> None:
    source = f"{_COMMAND}def command():\n    print('x' * 1000000)\n    end()\nLimit().supervise(command)"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"OutputError: [Errno 32] Broken pipe" in process.stderr.read()


@contextmanager
def watching(*through: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until it is ended, and has begun."""
    arguments = [*through, sys.executable, "-m", "hostinspect", "watch", "-v", "--for", "60"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("looked because of" in line for line in iter(process.stderr.readline, ""))
        try:
            yield process
        finally:
            process.kill()


def test_what_nohup_has_us_ignore_is_ignored() -> None:
    with watching("nohup") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)  # comes after it
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_command_too(number: signal.Signals) -> None:
    with watching() as process:
        (forked,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        assert process.wait(30) == (130 if number == signal.SIGINT else -number)
        while Path(f"/proc/{forked}").exists():  # its init's to reap
            time.sleep(0.01)

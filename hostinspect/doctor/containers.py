"""Containers: what their records say, against their processes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hostinspect.correlate.runtime import recorded_state
from hostinspect.doctor.check import Checked, Doubt, Found, Kind, check, word
from hostinspect.doctor.patient import RECORDS, Patient
from hostinspect.facts import ContainerRecord

_MANY_RESTARTS = 3
_RECENTLY = timedelta(minutes=10)
_CLOCK_SLACK = timedelta(seconds=60)
_FIRST_CHECK = timedelta(minutes=2)  # after which a check has usually said something


@check("running-without-process", "error", needs=(*RECORDS, "processes"))
def running_without_process(patient: Patient) -> Checked:
    """A container's record says that it runs, and it has no process.

    `docker ps` shows it as up; `docker exec` and `stop` fail or hang. Its process was killed while nobody watched: the
    shim or the daemon was gone. Restarting the engine sets the records right.
    """
    for record in patient.facts.containers:
        # Between two runs of one that restarts there is none.
        if recorded_state(record) not in ("running", "paused") or record.id in patient.index.processes_by_container:
            continue
        process = patient.index.processes.get(record.pid or 0)
        there = f"pid {record.pid} is another process now, {process.comm}" if process else f"pid {record.pid} is gone"
        yield Found(
            "container",
            record.name,
            f"{record.name} runs by its record, and has no process",
            patient.docker(record, f"restart {word(record.name)}; if that fails: systemctl restart docker"),
            (there if record.pid else "its record has no pid",),
        )


@check("stopped-with-process", "error", needs=(*RECORDS, "processes"))
def stopped_with_process(patient: Patient) -> Checked:
    """A container's record says that it does not run, and it has processes.

    Starting it runs it twice over the same volumes. A daemon that lost track of it, restarted without its shims, or
    took it for dead.
    """
    for record in patient.facts.containers:
        if recorded_state(record) in ("running", "paused", "restarting", "removing"):
            continue
        alive = [p for p in patient.index.processes_by_container.get(record.id, ()) if not p.has_ended]
        if alive and not just_now(patient, record.finished_at):
            yield Found(
                "container",
                record.name,
                f"{record.name} does not run by its record, and has {len(alive)} processes",
                f"kill {' '.join(str(p.pid) for p in alive[:20])}",
                tuple(f"pid {p.pid} ({p.comm})" for p in alive[:10]),
            )


def just_now(patient: Patient, moment: str | None) -> bool:
    """Whether something happened within the seconds that the engine takes to write it down."""
    then, now = _time(moment), _time(patient.facts.host.collected_at)
    return then is not None and now is not None and abs(now - then) < timedelta(seconds=10)


def _time(text: str | None) -> datetime | None:
    """An RFC 3339 time; docker writes nanoseconds, which are left out."""
    if not text or len(text) < 19:
        return None
    zone = "+00:00" if text.endswith("Z") else text[-6:]
    try:
        parsed = datetime.fromisoformat(text[:19] + (zone if zone[:1] in "+-" else ""))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


@check("restart-loop", "warning", needs=RECORDS)
def restart_loop(patient: Patient) -> Checked:
    """A container is started again and again.

    Its main process ends soon after each start, and its restart policy starts it anew.
    """
    now = _time(patient.facts.host.collected_at)
    for record in patient.facts.containers:
        started = _time(record.started_at)
        is_young = started is not None and now is not None and now - started < _RECENTLY
        if not record.restarting and not (record.running and record.restart_count >= _MANY_RESTARTS and is_young):
            continue
        yield Found(
            "container",
            record.name,
            f"{record.name} was restarted {record.restart_count} times"
            + (", and is being restarted now" if record.restarting else f", the last time at {record.started_at}"),
            patient.docker(record, f"logs --tail 50 {word(record.name)}"),
            (
                f"restart policy: {record.restart_policy or 'none'}",
                f"exit code of the last run: {record.exit_code}",
            ),
        )


@check("container-unhealthy", "warning", needs=(*RECORDS, "processes"))
def unhealthy(patient: Patient) -> Checked:
    """A container's own health check fails.

    As the engine wrote it down last: since Docker 28 that is when the container was started, so there it cannot be
    judged from the host.
    """
    now = _time(patient.facts.host.collected_at)
    for container in patient.running:
        started = _time(container.started_at)
        if container.health == "unhealthy":
            yield Found(
                "container",
                container.name,
                f"{container.name} is unhealthy by its own check",
                patient.docker(container, f"inspect --format '{{{{json .State.Health}}}}' {word(container.name)}"),
            )
        elif container.health == "starting" and started and now and now - started > _FIRST_CHECK:
            yield Doubt(
                container.name,
                "its record says “starting” since it was started: the engine does not write its health down",
                patient.docker(container, f"inspect --format '{{{{.State.Health.Status}}}}' {word(container.name)}"),
            )


@check("killed-for-memory", "warning", needs=RECORDS)
def killed_for_memory(patient: Patient) -> Checked:
    """A container's main process was killed because its memory limit was reached, and it does not run since.

    The kernel's out-of-memory killer ended it.
    """
    for record in patient.facts.containers:
        if record.oom_killed and not record.running:
            yield Found(
                "container",
                record.name,
                f"{record.name} ran out of memory and was killed",
                patient.docker(record, f"update --memory SIZE {word(record.name)}", f"start {word(record.name)}"),
                (f"exit code {record.exit_code}, at {record.finished_at}",),
            )


@check("record-in-the-future", "warning", needs=("host", "engines", "containers", "networks", "volumes"), certain=True)
def record_in_the_future(patient: Patient) -> Checked:
    """A record has a time that is still to come.

    The clock was set back, or was wrong when it was written: certificates, logs, ages and restart delays are then wrong
    as well.
    """
    now = _time(patient.facts.host.collected_at)
    if now is None:
        return
    for kind, name, words, moment in _times(patient):
        then = _time(moment)
        if then is not None and then - now > _CLOCK_SLACK:
            yield Found(
                kind,
                name,
                f"{kind} {name} was {words} at {moment}, which is still to come",
                "timedatectl; chronyc tracking",
                (f"the clock says {patient.facts.host.collected_at}",),
            )


def _times(patient: Patient) -> list[tuple[Kind, str, str, str | None]]:
    found: list[tuple[Kind, str, str, str | None]] = []
    for record in patient.facts.containers:
        latest = max(_container_times(record), default=None)
        if latest:
            found.append(("container", record.name, latest[1], latest[0]))
    found += [("network", network.name, "created", network.created) for network in patient.facts.networks]
    found += [("volume", volume.name, "created", volume.created) for volume in patient.facts.volumes]
    return found


def _container_times(record: ContainerRecord) -> list[tuple[str, str]]:
    times = ((record.created, "created"), (record.started_at, "started"), (record.finished_at, "ended"))
    return [(moment, words) for moment, words in times if moment]

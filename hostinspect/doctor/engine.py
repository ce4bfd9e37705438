"""The daemon itself."""

from __future__ import annotations

from hostinspect.correlate.runtime import recorded_state
from hostinspect.doctor.check import Checked, Found, check
from hostinspect.doctor.patient import Patient

_STATES = {"T": "stopped by a signal", "t": "stopped by a debugger", "D": "waiting and not to be interrupted"}


@check("engine-not-answering", "critical", needs=("host", "engines", "processes", "stuck processes"))
def not_answering(patient: Patient) -> Checked:
    """The engine's daemon is there and cannot answer.

    `docker ps` hangs. Its process is stopped by a signal or a debugger, or waits in the kernel. One that has locked
    itself up cannot be told from one with nothing to do; for that, ask it (`curl --unix-socket /run/docker.sock -m 2
    http://docker/_ping`).
    """
    stuck = {process.pid for process in patient.health.stuck}
    for engine in patient.topology.host.engines:
        process = patient.index.processes.get(engine.pid or 0)
        if engine.daemon != "not responding" or process is None or (process.state == "D" and process.pid not in stuck):
            continue  # who reads a disk is in state D for a moment
        yield Found(
            "engine",
            engine.data_root,
            f"dockerd ({process.pid}) of {engine.data_root} does not answer: it is {_STATES.get(process.state, '?')}",
            f"kill -CONT {process.pid}" if process.state == "T" else f"cat /proc/{process.pid}/stack",
            (f"state {process.state} of pid {process.pid}",),
        )


@check("engine-stopped", "error", needs=("host", "engines", "containers", "processes"))
def stopped(patient: Patient) -> Checked:
    """The engine's daemon does not run, and by its records containers do.

    Those that run go on under their shims, without logs to look at, new rules or restarts. Unless it has live-restore,
    the daemon ends them when it starts.
    """
    for engine in patient.topology.host.engines:
        if engine.daemon != "stopped":
            continue
        records = [record for record in patient.facts.containers if record.data_root == engine.data_root]
        recorded = [record for record in records if recorded_state(record) in ("running", "paused")]
        alive = [record for record in recorded if record.id in patient.index.processes_by_container]
        if recorded:
            yield Found(
                "engine",
                engine.data_root,
                f"the daemon of {engine.data_root} does not run: "
                f"{len(recorded)} containers run by its records, {len(alive)} do",
                "systemctl status docker; journalctl -u docker -n 50; systemctl start docker",
                ("no process is its dockerd",),
            )

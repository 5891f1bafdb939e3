"""Runs jobs on SLURM, through submitit: an array whose tasks are training runs, each with its evaluations."""

import getpass
import json
import os
import subprocess
from pathlib import Path

from .cost import Costs
from .local import Runner
from .plan import Job
from .state import State

SUBMITTED = "submitted.json"  # folder of a job -> id of its task, in OUTPUT/.slurm
# submitit's own parameters; any other is one of SLURM's, such as partition or account.
GENERAL = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
DEFAULTS = {"name": "clipfit", "timeout_min": 24 * 60, "cpus_per_task": 8, "gpus_per_node": 1}
MOST_TASKS = 1000  # of an array; SLURM's own default is 1001
AT_A_TIME = 8  # by default


def submit(jobs: list[Job], wanted: dict[Job, dict], output: Path, options: list[str], at_a_time: int) -> str:
    """Submit jobs; returns a line about what was submitted.

    Args:
        jobs: what is to run, each after the job that it needs.
        options: KEY=VALUE of submitit or SLURM; cluster=local runs the tasks here instead.
        at_a_time: how many tasks may run at the same time.

    Raises:
        ModuleNotFoundError: submitit is not there.
        ValueError: SLURM is not there, or an option is unknown.
    """
    import submitit

    folder, parameters = output / ".slurm", {**DEFAULTS, **dict(map(key_value, options))}
    cluster = parameters.pop("cluster", "slurm")
    parameters["slurm_array_parallelism"] = at_a_time
    names = {key: key if key in GENERAL or key.startswith("slurm_") else f"slurm_{key}" for key in parameters}
    try:
        executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        executor.update_parameters(**{names[key]: value for key, value in parameters.items()})
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise ValueError(f"--slurm: {error}") from error
    tasks = pack(chains(jobs))
    with executor.batch():
        handles = [executor.submit(run_task, task, needed(task, wanted)) for task in tasks]
    ids = {str(job.output): handle.job_id for task, handle in zip(tasks, handles, strict=True) for job in task}
    remember(folder, ids)
    bound = f"at most {at_a_time} at a time" if cluster == "slurm" else "all at once"
    number = handles[0].job_id.partition("_")[0]
    return f"Submitted {number}: {len(jobs)} jobs, tasks: {len(tasks)}, {bound}; what they print is in {folder}"


def key_value(option: str) -> tuple[str, str | int]:
    key, sign, value = option.partition("=")
    if not sign:
        raise ValueError(f"--slurm takes KEY=VALUE, such as partition=gpu, got {option!r}")
    return key, int(value) if value.isdigit() else value


def chains(jobs: list[Job]) -> list[list[Job]]:
    """Jobs that need each other, in order: a training and its evaluations."""
    found = {}
    for job in jobs:
        found.setdefault(job.training or job, []).append(job)
    return list(found.values())


def pack(found: list[list[Job]]) -> list[list[Job]]:
    """The chains as tasks, as many as an array may have; what is beyond comes after others in one task."""
    return [sum(found[i::MOST_TASKS], []) for i in range(min(MOST_TASKS, len(found)))]


def needed(task: list[Job], wanted: dict[Job, dict]) -> dict[Job, dict]:
    return {job: wanted[job] for job in {*task, *(job.training or job for job in task)}}


def run_task(jobs: list[Job], wanted: dict[Job, dict]) -> None:
    """What a task does on its node: the jobs one after the other. RuntimeError if one is not finished then."""
    threads = os.environ.get("SLURM_CPUS_PER_TASK")
    outcomes = Runner(jobs, wanted, [{"OMP_NUM_THREADS": threads} if threads else {}], Costs(wanted)).run()
    states = {job: outcomes.get(job, State("cut off")) for job in jobs}
    bad = [f"{job.title}: {state.kind} {state.note}" for job, state in states.items() if state.kind != "finished"]
    if bad:
        raise RuntimeError("; ".join(bad))


def remember(folder: Path, ids: dict[str, str]) -> None:
    from trainers.common.runs.files import write_atomically

    write_atomically(str(folder / SUBMITTED), json.dumps({**recall(folder), **ids}, indent=1))


def recall(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / SUBMITTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def queued(output: Path) -> dict[str, str]:
    """Folders of the jobs that were submitted and wait or run, and the ids of their tasks.

    Raises:
        ValueError: SLURM does not answer.
    """
    ids = recall(output / ".slurm")
    if not ids:
        return {}
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    except FileNotFoundError:  # not SLURM, but --slurm cluster=local
        return {}
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"squeue, which tells what is queued, fails ({error}): try again later") from error
    return {folder: task for folder, task in ids.items() if task in answer}

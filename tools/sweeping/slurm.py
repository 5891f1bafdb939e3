"""Submits jobs to SLURM through submitit: an array with one task per training and its evaluations."""

import getpass
import json
import os
import subprocess
from pathlib import Path

from .cost import Costs
from .jobs import Job
from .local import Runner
from .state import State

TASK_IDS = "submitted.json"  # in OUTPUT/.slurm: run directory -> id of its task
# submitit's own parameters. All others are SLURM's, such as partition or account.
SUBMITIT_PARAMETERS = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
DEFAULTS = {"name": "clipfit", "timeout_min": 24 * 60}
CPUS_PER_GPU = 8  # default
MAX_TASKS = 1000  # tasks per array; SLURM's default limit is 1001
AT_A_TIME = 8  # default


def gpus_per_job(chosen: int | None, options: list[str] | None) -> int:
    """Returns the number of GPUs of each job.

    Args:
        chosen: Value of --gpus-per-job; None: the one of `gpus_per_node` with --slurm, else 1.
        options: Values of --slurm; None: without it.

    Raises:
        ValueError: Both are given, and they differ.
    """
    per_node = dict(map(parse_option, options or [])).get("gpus_per_node")
    if not isinstance(per_node, int) or per_node == 0:  # 0: processes on the CPU
        return chosen or 1
    if chosen not in (None, per_node):
        raise ValueError(
            f"--gpus-per-job {chosen} and --slurm gpus_per_node={per_node} differ, but a task runs one job at a time, "
            "on all GPUs that it has: leave out one of them"
        )
    return per_node


def submit(
    jobs: list[Job], expected: dict[Job, dict], output: Path, options: list[str], at_a_time: int, n_gpus: int = 1
) -> str:
    """Submits jobs and returns a line that describes the submission.

    Args:
        jobs: The jobs to run; a training comes before its evaluations.
        expected: `state.expected_record` of each job.
        output: Output folder of the sweep.
        options: KEY=VALUE options of submitit or SLURM. cluster=local runs the tasks on this machine.
        at_a_time: Maximum number of tasks that run at the same time.
        n_gpus: Number of GPUs of each job.

    Raises:
        ModuleNotFoundError: If submitit is not installed.
        ValueError: If SLURM is not available or an option is unknown.
    """
    import submitit

    folder = output / ".slurm"
    per_job = {"gpus_per_node": n_gpus, "cpus_per_task": CPUS_PER_GPU * n_gpus}
    parameters = {**DEFAULTS, **per_job, **dict(map(parse_option, options))}
    cluster = parameters.pop("cluster", "slurm")
    parameters["slurm_array_parallelism"] = at_a_time
    try:
        executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        executor.update_parameters(**{parameter_name(key): value for key, value in parameters.items()})
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise ValueError(f"--slurm: {' '.join(str(error).split())}") from error
    tasks = pack(group_by_training(jobs))
    with executor.batch():
        handles = [executor.submit(run_task, task, expected_of(task, expected), n_gpus) for task in tasks]
    task_ids = {}
    for task, handle in zip(tasks, handles, strict=True):
        for job in task:
            task_ids[str(job.output)] = handle.job_id
    save_task_ids(folder, task_ids)
    limit = f"at most {at_a_time} at a time" if cluster == "slurm" else "all at once"
    number = handles[0].job_id.partition("_")[0]
    return f"Submitted {number}: {len(jobs)} jobs in {len(tasks)} tasks, {limit}; their logs are in {folder}"


def parse_option(option: str) -> tuple[str, str | int]:
    """Parses KEY=VALUE; a whole number becomes an int."""
    key, equals_sign, value = option.partition("=")
    if not equals_sign:
        raise ValueError(f"--slurm must be KEY=VALUE, such as partition=gpu, got {option!r}")
    return key, int(value) if value.isdigit() else value


def parameter_name(key: str) -> str:
    """Returns the name of an option in submitit, which marks SLURM's own with the prefix slurm_."""
    return key if key in SUBMITIT_PARAMETERS or key.startswith("slurm_") else f"slurm_{key}"


def group_by_training(jobs: list[Job]) -> list[list[Job]]:
    """Returns one list per training: the training, what starts from it, and their evaluations, in order."""
    groups = {}
    for job in jobs:
        groups.setdefault([*job.before, job][0], []).append(job)
    return list(groups.values())


def pack(groups: list[list[Job]]) -> list[list[Job]]:
    """Distributes groups over at most `MAX_TASKS` tasks.

    Example with MAX_TASKS = 2: [[1, 2], [3], [4, 5]] becomes [[1, 2, 4, 5], [3]].
    """
    return [sum(groups[i::MAX_TASKS], []) for i in range(min(MAX_TASKS, len(groups)))]


def expected_of(task: list[Job], expected: dict[Job, dict]) -> dict[Job, dict]:
    """Returns the part of `expected` that a task needs: its jobs and the trainings they evaluate."""
    return {job: expected[job] for job in {other for job in task for other in (*job.before, job)}}


def run_task(jobs: list[Job], expected: dict[Job, dict], processes: int = 1) -> None:
    """Runs the jobs of a task one after the other, on its node. Raises RuntimeError if one is not finished."""
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    environment = {"OMP_NUM_THREADS": str(max(1, int(cores) // processes))} if cores else {}
    outcomes = Runner(jobs, expected, [environment], Costs(expected), processes=processes).run()
    unfinished = []
    for job in jobs:
        state = outcomes.get(job, State("interrupted"))
        if state.status != "finished":
            unfinished.append(f"{job.title}: {state.status} {state.note}")
    if unfinished:
        raise RuntimeError("; ".join(unfinished))


def save_task_ids(folder: Path, task_ids: dict[str, str]) -> None:
    from trainers.common.runs.files import write_atomically

    write_atomically(str(folder / TASK_IDS), json.dumps({**read_task_ids(folder), **task_ids}, indent=1))


def read_task_ids(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / TASK_IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def queued(output: Path) -> dict[str, str]:
    """Returns run directory -> task id of the submitted jobs that wait or run on SLURM.

    Raises:
        ValueError: If squeue fails.
    """
    task_ids = read_task_ids(output / ".slurm")
    if not task_ids:
        return {}
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        in_queue = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    except FileNotFoundError:  # the jobs were submitted with --slurm cluster=local
        return {}
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"cannot list the queued jobs, squeue failed ({error}): try again later") from error
    return {folder: task for folder, task in task_ids.items() if task in in_queue}

"""Prints what a sweep will do, how long it may take, and the results."""

from collections import Counter, defaultdict

from runtime.user_errors import error_code
from tools.shots import shots_name, shots_text

from . import console
from .choosing import waiting_tests
from .cost import Costs, clock
from .jobs import Job
from .state import STATUSES, State


def count_jobs(states: dict) -> str:
    """Returns a line such as "12 jobs: 5 finished, 7 to run"."""
    counts = Counter(state.status for state in states.values())
    parts = [f"{counts[status]} {text}" for status, text in STATUSES.items() if counts[status]]
    return f"{len(states)} jobs: {', '.join(parts)}"


def print_settings(jobs: list[Job]) -> None:
    """Prints the YAML file and config keys of each method, and the datasets, shots and varied values it runs with."""
    datasets = defaultdict(dict)  # (method, configuration) -> names of datasets, as keys
    shots = defaultdict(dict)
    varied = defaultdict(lambda: defaultdict(dict))  # (method, configuration) -> key -> values, as keys
    for setting in dict.fromkeys(job.setting for job in jobs):
        keys = f" with {' '.join(setting.recipe_keys)}" if setting.recipe_keys else ""
        row = setting.method, f"{setting.file}{keys}; backbone {setting.backbone}"
        datasets[row][setting.name] = None
        shots[row][shots_name(setting.shots)] = None
        for key, value in setting.values.items():
            varied[row][key][value] = None
    for row, names in datasets.items():
        method, configuration = row
        print(f"{method} on {', '.join(names)}, {shots_text(*shots[row])}: {configuration}")
        for key, values in varied[row].items():
            print(f"    {key}: {', '.join(values)}")


def print_plan(states: dict, costs: Costs, at_a_time: int) -> None:
    """Prints the state and the expected duration of each job, and the total."""
    to_run = [job for job, state in states.items() if state.status not in ("finished", "blocked")]
    seconds = {job: costs.seconds(job) for job in to_run}
    for job, state in states.items():
        duration = f"  {clock(seconds[job])}" if seconds.get(job) is not None else ""
        note = f"  ({state.note})" if state.note else ""
        print(f"{state.status:<9} {job.title}{duration}{note}")
    known = [value for value in seconds.values() if value is not None]
    print(f"\n{count_jobs(states)}")
    if known:
        print(
            f"Estimated time, from similar runs: {clock(sum(known))} in sequence, {clock(sum(known) / at_a_time)} "
            f"with {at_a_time} at a time; startup adds up to a few seconds per job"
        )
        if (recorded := costs.parts.at_a_time()) and at_a_time > 1.5 * recorded:
            print(f"The similar runs ran {recorded:.1f} at a time; {at_a_time} at a time may slow each other")
    if waiting := waiting_tests(list(states)):
        print(f"Then {waiting} tests of the runs that are best on validation images")
    if len(known) < len(seconds):
        print(
            f"No estimate for {len(seconds) - len(known)} jobs: there is no record of a similar run. To get one, "
            "finish a training of the method on a small dataset first (the same command with --datasets NAME --seeds 1)"
        )


def print_results(states: dict, args) -> int:
    """Prints the report and the jobs that are not finished. Returns the exit code."""
    unfinished = {job: state for job, state in states.items() if state.status != "finished"}
    tested = [job for job in states if job not in unfinished and not job.choices]
    if not args.table:
        report([args.output])
    elif tested:
        protocol = ["--protocol", args.protocol] if args.protocol in ("base2new", "fewshot") else []
        report(["--no-files", *protocol, "--", *(str(job.output) for job in tested)])
    waiting = waiting_tests(list(states))
    ending = "; not finished:" if unfinished else ""
    print(f"\n{len(states) - len(unfinished)} of {len(states)} jobs are finished{ending}")
    for job, state in unfinished.items():
        print(f"{state.status}: {job.title}: {state.note}")
        if state.status == "failed":
            print(f"    log: {job.output / console.FILE}")
    if waiting:
        print(f"{waiting} tests are left: not all candidates of their choice on validation images are finished")
    return 1 if unfinished or waiting else 0


def report(arguments: list[str]) -> None:
    """Prints and writes the report of tools/report.py. Its user errors are printed, and do not end the sweep."""
    from tools import report as program

    error_code(program.run, program.parse_args(arguments))


def mark_queued(states: dict, task_ids: dict[str, str]) -> dict:
    """Returns the states with "queued" for the jobs that wait or run on SLURM.

    Args:
        states: State of each job.
        task_ids: Run directory -> id of its SLURM task.
    """
    marked = {}
    for job, state in states.items():
        task = task_ids.get(str(job.output))
        is_queued = task is not None and state.status not in ("finished", "blocked")
        marked[job] = State("queued", f"task {task}") if is_queued else state
    return marked

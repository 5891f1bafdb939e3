"""What a sweep prints: how far its jobs are, what they may cost, what came of them."""

import subprocess
import sys
from collections import Counter, defaultdict

from . import console
from .cost import Costs, clock
from .plan import Job
from .state import KINDS, State


def count(states: dict) -> str:
    """ "12 jobs: 5 finished, 7 to run"."""
    counts = Counter(state.kind for state in states.values())
    return f"{len(states)} jobs: " + ", ".join(f"{counts[kind]} {text}" for kind, text in KINDS.items() if counts[kind])


def print_settings(jobs: list[Job]) -> None:
    """Print which YAML and config keys each method runs with, on which datasets."""
    datasets, shots = defaultdict(dict), defaultdict(dict)
    for setting in dict.fromkeys(job.setting for job in jobs):
        keys = f" with {' '.join(setting.keys)}" if setting.keys else ""
        what = setting.method, f"{setting.file}{keys}; backbone {setting.backbone}"
        datasets[what][setting.dataset] = shots[what][str(setting.shots)] = None
    for what, names in datasets.items():
        method, text = what
        print(f"{method} on {', '.join(names)}, {', '.join(shots[what])} shots: {text}")


def print_plan(states: dict, costs: Costs, at_a_time: int) -> None:
    """Print each job with its state and expected time, and their sum."""
    ahead = [job for job, state in states.items() if state.kind not in ("finished", "blocked")]
    seconds = {job: costs.seconds(job) for job in ahead}
    for job, state in states.items():
        time = f"  {clock(seconds[job])}" if seconds.get(job) is not None else ""
        print(f"{state.kind:<9} {job.title}{time}{f'  ({state.note})' if state.note else ''}")
    known = [value for value in seconds.values() if value is not None]
    print(f"\n{count(states)}")
    if known:
        print(
            f"Time, as similar runs on record took: {clock(sum(known))}, with {at_a_time} at a time "
            f"{clock(sum(known) / at_a_time)}; starting up takes some seconds a job besides"
        )
    if len(known) < len(seconds):
        print(f"Nothing similar is on record for {len(seconds) - len(known)} jobs: their time is unknown")


def conclude(states: dict, outcomes: dict, args) -> int:
    """Print the report and what came of the jobs; returns the exit code."""
    final = {job: outcomes.get(job, state) for job, state in states.items()}
    bad = {job: state for job, state in final.items() if state.kind != "finished"}
    if not args.table:
        report([args.output])
    elif len(bad) < len(final):
        only = ["--protocol", args.protocol] if args.protocol in ("base2new", "fewshot") else []
        report(["--no-files", *only, "--", *(str(job.output) for job in final if job not in bad)])
    print(f"\n{len(final) - len(bad)} of {len(final)} jobs are finished" + (", the others are not:" if bad else ""))
    for job, state in bad.items():
        print(f"{state.kind}: {job.title}: {state.note}")
        if state.kind == "failed":
            print(f"    log: {job.output / console.FILE}")
    return 1 if bad else 0


def report(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "tools/report.py", *arguments])


def overlay(states: dict, queued: dict[str, str]) -> dict:
    """The states, with "queued" for jobs that wait or run on SLURM; `queued` holds their folders and tasks."""
    return {
        job: State("queued", f"task {queued[str(job.output)]}")
        if str(job.output) in queued and state.kind not in ("finished", "blocked")
        else state
        for job, state in states.items()
    }

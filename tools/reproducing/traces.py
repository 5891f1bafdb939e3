"""Traces of gradients: which runs need one, and which runs on record have none."""

import argparse

from tools.sweeping.state import read_record
from trainers.common.runs import trace_file
from trainers.common.runs.record_schema import FILE

from .plan import Plan, plan_studies
from .studies import Study


def traced_folders(studies: list[Study], args) -> frozenset:
    """Returns the run directories of the trainings whose trace a study shows, whether it is requested or not.

    So a run of table 1 has the trace that figure 4 needs.
    """
    args = argparse.Namespace(**{**vars(args), "methods": None})
    jobs = plan_studies([study for study in studies if study.traced], args).jobs
    return frozenset(job.output for job in jobs if not job.training)


def without_trace(studies: list[Study], plan: Plan) -> list[str]:
    """Returns a line per finished training whose trace one of the studies shows, but which has none."""
    lines = {}
    for study in studies:
        for cell in plan.cells[study.name] if study.traced else ():
            folder = cell.job.output if cell.is_training else None
            if folder and (read_record(folder / FILE) or {}).get("finished"):
                if not (folder / trace_file.NAME).exists():
                    lines[no_trace(folder)] = None
    return list(lines)


def no_trace(folder) -> str:
    return (
        f"{folder} was trained without a trace of its gradients (TRAIN.TRACE): remove this folder, and the same "
        "command trains the run again with a trace"
    )

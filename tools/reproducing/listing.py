"""Lists studies: what each shows, its training runs, how many are on record, and how long the others take."""

from collections.abc import Mapping
from pathlib import Path

from tools.sweeping.cost import Costs, clock
from tools.sweeping.methods import registered_methods
from tools.sweeping.plan import Job
from tools.sweeping.state import differing_settings, expected_record, read_record, why_outdated
from trainers.common.runs.record_schema import FILE

from .plan import Plan
from .studies import ALL, Study


class ExpectedRecords(Mapping):
    """`expected_record` of each job, computed when it is needed: most jobs of a list need none."""

    def __init__(self, jobs: list[Job]):
        self.records = dict.fromkeys(jobs)

    def __getitem__(self, job: Job) -> dict:
        if self.records[job] is None:
            self.records[job] = expected_record(job)
        return self.records[job]

    def __iter__(self):
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


def list_studies(studies: list[Study], plan: Plan, output: Path) -> str:
    """Returns the list, one line per study. Those that are not in `all` come last."""
    expected = ExpectedRecords(plan.jobs)
    costs = Costs(expected)
    costs.read_records(output)
    on_record = {job for job in plan.jobs if is_on_record(job, expected)}
    width = max(len(study.name) for study in studies)

    def line(name: str, title: str, cells: list) -> str:
        jobs = {cell.job for cell in cells if cell.job}
        trainings = {job for job in jobs if is_training(job)}
        waiting = sum(cell.job is None for cell in cells)
        if not cells:
            return f"{name:<{width}}  {title}: no runs"
        runs = f"{len(trainings) + waiting} training runs, {len(trainings & on_record)} on record"
        return f"{name:<{width}}  {title}: {runs}{time_left(jobs - on_record, waiting, costs)}"

    in_all = [study for study in studies if study.in_all]
    others = [study for study in studies if not study.in_all]
    lines = [line(study.name, study.title, plan.cells[study.name]) for study in in_all]
    lines.append(line(ALL, "everything above; studies share runs", [c for s in in_all for c in plan.cells[s.name]]))
    if others:
        lines.append(f"\nFurther studies, which the paper does not have and {ALL!r} does not include:")
        lines += [line(study.name, study.title, plan.cells[study.name]) for study in others]
    return "\n".join(lines)


def is_training(job: Job) -> bool:
    trainer = registered_methods()[job.setting.method]
    return job.training is None and not getattr(trainer, "zero_shot", False)


def is_on_record(job: Job, expected: Mapping) -> bool:
    """Whether a job is finished with the settings of the plan. Images are not compared; a run does that."""
    result = read_record(job.output / FILE)
    if not result or not result.get("finished") or why_outdated(job, result):
        return False
    return not differing_settings(result, expected[job], expected[job.training] if job.training else None)


def time_left(jobs: set[Job], waiting: int, costs: Costs) -> str:
    """Returns e.g. ", about 1:02:00 for the others"; "" if no similar runs are on record, or nothing is left."""
    if not costs.recorded or not (jobs or waiting):
        return ""
    seconds = {}  # runs that differ in the seed only take equally long
    total, unknown = 0.0, waiting
    for job in jobs:
        alike = (job.setting.method, job.setting.name, job.setting.shots, job.setting.run.rpartition("/")[0],
                 job.output.parent.parent, job.training is None)  # fmt: skip
        if alike not in seconds:
            seconds[alike] = costs.seconds(job)
        if seconds[alike] is None:
            unknown += 1
        else:
            total += seconds[alike]
    more = f" and {unknown} jobs of unknown length" if unknown else ""
    return f", {clock(total)} in sequence for the others{more}" if total else ""

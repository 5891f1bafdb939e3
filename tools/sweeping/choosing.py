"""Chooses values of varied keys on validation images (--choose val), and plans the tests of the chosen runs.

A choice belongs to one method, training dataset, number of shots and seed. Its candidates are trainings with one
combination of the varied values each. They are evaluated on validation images and read no test images. When all
candidates are finished, the best one is tested; of equal ones, the first as listed. So a sweep runs in two rounds, and
the tests are jobs only in the second.
"""

from dataclasses import replace
from pathlib import Path

from tools import choices

from . import varying

VAL = ("TEST.SPLIT", choices.SPLIT)


class Choice:
    """A choice between settings that differ in the varied keys.

    Attributes:
        settings: The settings, in the order of the values.
        candidates: The training of each setting.
        tests: Steps of the protocol that the chosen run is tested in.
        decision: What was chosen; None as long as the candidates are not finished.
    """

    def __init__(self, settings: list, training, tests: list):
        self.settings = settings
        self.tests = tests
        self.decision = None
        self.candidates = []
        for setting in settings:
            run = setting.path(f"{setting.change_label()}_{choices.SPLIT}")
            label = f"{training.label} ({choices.SPLIT})"
            job = setting.job(label, f"{training.folder}/{run}", *training.keys, *VAL)
            self.candidates.append(replace(job, choices=[self]))

    @property
    def run(self) -> str:
        """Last part of the run directories of the tests. It names all values, because the choice depends on them."""
        first = self.settings[0]
        values = {key: list(dict.fromkeys(s.values[key] for s in self.settings)) for key in first.values}
        return first.path(f"_{choices.SPLIT}{varying.label(values)}")

    def decide(self, finished: dict[Path, object]) -> choices.Choice | None:
        """Returns what is chosen; None if not all candidates have an accuracy on validation images.

        Args:
            finished: Finished jobs by run directory.
        """
        found = []
        for job in self.candidates:
            accuracy = result_on_val(job) if job.output in finished else None
            if accuracy is None:
                return None
            found.append(choices.Candidate(job.setting.values, accuracy, job.output))
        return choices.Choice(tuple(found))

    def tests_with(self, chosen) -> list:
        """Returns the tests of a candidate, as jobs."""
        tests = []
        for step in self.tests:
            label, output = f"{step.label} (chosen)", f"{step.folder}/{self.run}"
            test = chosen.setting.job(label, output, *step.keys, dataset=step.dataset, training=chosen)
            tests.append(replace(test, chosen_from=self))
        return tests


def result_on_val(job) -> float | None:
    """Returns the accuracy on the validation images, or the dataset's own metric, in percent."""
    from trainers.common.runs import record

    result = record.read(str(job.output / record.FILE)) or {}
    metrics = (result.get("metrics") or {}).get(choices.SPLIT) or {}
    return metrics.get(result.get("metric") or "accuracy")


def all_choices(jobs: list) -> list[Choice]:
    """Returns the choices between jobs, each once."""
    return list(dict.fromkeys(choice for job in jobs for choice in job.choices))


def chosen_tests(jobs: list, finished: set) -> list:
    """Returns the tests of the choices between `jobs` that can be made.

    Args:
        jobs: Jobs of a sweep.
        finished: Those of them that are finished.
    """
    by_output = {job.output: job for job in jobs if job in finished}
    tests = {}
    for choice in all_choices(jobs):
        choice.decision = choice.decide(by_output)
        if choice.decision is None:
            continue
        chosen = by_output[choice.decision.chosen.folder]
        for test in choice.tests_with(chosen):
            tests.setdefault(test.output, test)
    return list(tests.values())


def write_choices(jobs: list) -> None:
    """Writes a choice.json for each test of a chosen run, before the test starts."""
    for job in jobs:
        if job.chosen_from:
            choices.write(job.chosen_from.decision, job.output)


def waiting_tests(jobs: list) -> int:
    """Returns the number of tests whose choice is not made yet."""
    return sum(len(choice.tests) for choice in all_choices(jobs) if choice.decision is None)

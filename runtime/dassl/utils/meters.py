"""Meters for the latest value and the average of metrics."""

from collections import defaultdict

import torch

from runtime.decimals import decimals


class AverageMeter:
    """Tracks the latest value `val` and the average `avg`; with `ema` an exponential average with decay 0.9."""

    def __init__(self, ema: bool = False):
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n: int = 1) -> None:
        """Adds a number or one-element tensor, the mean of `n` samples."""
        if isinstance(val, torch.Tensor):
            val = val.item()
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = 0.9 * self.avg + 0.1 * val if self.ema else self.sum / self.count


class MetricMeter:
    """Holds one AverageMeter per name. `str()` returns "name value (average)" for each."""

    def __init__(self, delimiter: str = " "):
        self.meters = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: dict | None) -> None:
        if input_dict is None:
            return
        if not isinstance(input_dict, dict):
            raise TypeError(f"MetricMeter.update() takes a dict, got {type(input_dict).__name__}")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(
            f"{name} {decimals(m.val, 4)} ({decimals(m.avg, 4)})" for name, m in self.meters.items()
        )

"""The GPUs, processes and threads of the jobs that run at a time on this machine."""

import os

from runtime.machine import n_cores

GPUS = "CUDA_VISIBLE_DEVICES"


def environments(args, expected: dict) -> list[dict[str, str]]:
    """Returns the environment variables (GPUs, number of threads) of each job that runs at a time.

    Jobs are spread evenly over the GPUs, or over groups of --gpus-per-job GPUs. Without a GPU, --gpus-per-job is the
    number of processes on the CPU.

    Example: --gpus 0 1 2 3 --gpus-per-job 2 --jobs 3 gives jobs on the GPUs 0,1 and 2,3 and 0,1.

    Raises:
        ValueError: there are fewer GPUs than a job needs.
    """
    groups = groups_of(visible_gpus(args.gpus), args.gpus_per_job)
    cores = n_cores()
    micro = {record["backbone"] for record in expected.values()} == {"micro"}
    jobs = args.jobs or len(groups) or (max(1, cores // args.gpus_per_job) if micro else 1)
    threads = os.environ.get("OMP_NUM_THREADS") or str(1 if micro else max(1, cores // (jobs * args.gpus_per_job)))
    result = []
    for i in range(jobs):
        environment = {"OMP_NUM_THREADS": threads}
        if groups:
            environment[GPUS] = groups[i % len(groups)]
        result.append(environment)
    return result


def visible_gpus(chosen: list[str] | None) -> list[str]:
    """Returns the GPUs by their names in CUDA_VISIBLE_DEVICES: the chosen ones, else all."""
    import torch

    visible = os.environ.get(GPUS, "").split(",")
    gpus = chosen or [gpu for gpu in visible if gpu and not gpu.startswith("-")]  # -1 hides all
    return gpus or [str(i) for i in range(torch.cuda.device_count())]  # counting does not initialize the GPUs


def groups_of(gpus: list[str], size: int) -> list[str]:
    """Returns groups of `size` GPUs as values of CUDA_VISIBLE_DEVICES. Prints which GPUs are left over."""
    if not gpus:
        return []
    if len(gpus) < size:
        raise ValueError(
            f"--gpus-per-job {size} needs as many GPUs, but there are {len(gpus)} ({', '.join(gpus)}): set it to at "
            f"most {len(gpus)}"
        )
    used = len(gpus) - len(gpus) % size
    if gpus[used:]:
        print(f"Not used: GPU {', '.join(gpus[used:])}, as {len(gpus)} GPUs are no whole groups of {size}")
    return [",".join(gpus[i : i + size]) for i in range(0, used, size)]


def each_on(processes: int, on_gpu: bool | None) -> str:
    """Returns what a job with several processes runs on, as a part of a line; "" for one process."""
    if processes == 1:
        return ""
    return f", each in {processes} processes on the CPU" if on_gpu is False else f", each on {processes} GPUs"

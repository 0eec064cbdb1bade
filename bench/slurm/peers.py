"""Other tools, each in its best ordinary use: 1,000 times `true` on one cluster. Prints seconds.

    PYTHON_OF_PEERS peers.py parsl|psij|submitit COUNT NODES CORES FOLDER

It runs in an environment of its own (`dev/peers.sh`), and knows nothing of Ayni.
"""

from __future__ import annotations

import sys
import time


def with_parsl(count: int, nodes: int, cores: int, folder: str) -> float:
    """One block over all nodes, started by srun; a worker to each core."""
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SrunLauncher
    from parsl.providers import SlurmProvider

    provider = SlurmProvider(
        partition="main", nodes_per_block=nodes, cores_per_node=cores, init_blocks=1, max_blocks=1,
        walltime="00:10:00", launcher=SrunLauncher(), exclusive=False,
        worker_init=f"export PATH={sys.prefix}/bin:$PATH",
    )  # fmt: skip
    executor = HighThroughputExecutor(
        address="127.0.0.1", max_workers_per_node=cores, provider=provider
    )

    @parsl.bash_app  # type: ignore[misc]
    def true() -> str:
        return "true"

    began = time.perf_counter()
    with parsl.load(Config(executors=[executor], run_dir=f"{folder}/parsl")):
        codes = [future.result() for future in [true() for _ in range(count)]]
        took = time.perf_counter() - began
    assert codes == [0] * count
    return took


def with_psij(count: int, nodes: int, cores: int, folder: str) -> float:
    """A job to each: psij-python packs nothing. The queue is polled as often as it may be."""
    from pathlib import Path

    from psij import Job, JobExecutor, JobSpec, JobState
    from psij.executors.batch.slurm import SlurmExecutorConfig

    config = SlurmExecutorConfig(
        initial_queue_polling_delay=1, queue_polling_interval=1, work_directory=Path(folder, "psij")
    )
    executor = JobExecutor.get_instance("slurm", config=config)
    began = time.perf_counter()
    jobs = []
    for _ in range(count):
        job = Job(JobSpec(executable="/bin/true"))
        executor.submit(job)
        jobs.append(job)
    for job in jobs:
        job.wait()
    took = time.perf_counter() - began
    assert all(job.status.state is JobState.COMPLETED for job in jobs)
    return took


def with_submitit(count: int, nodes: int, cores: int, folder: str) -> float:
    """One array of all."""
    import submitit

    executor = submitit.AutoExecutor(folder=f"{folder}/submitit", cluster="slurm")
    executor.update_parameters(
        slurm_partition="main", timeout_min=10, cpus_per_task=1, mem_gb=0.25,
        slurm_array_parallelism=count,
    )  # fmt: skip
    began = time.perf_counter()
    with executor.batch():
        jobs = [executor.submit(_true) for _ in range(count)]
    codes = [job.result() for job in jobs]
    took = time.perf_counter() - began
    assert codes == [0] * count
    return took


def _true() -> int:
    import subprocess

    return subprocess.run(["true"], check=False).returncode


if __name__ == "__main__":
    name, *numbers, where = sys.argv[1:]
    tools = {"parsl": with_parsl, "psij": with_psij, "submitit": with_submitit}
    print(f"{tools[name](*map(int, numbers), where):.3f}", flush=True)

"""One round of FedAvg over a vector of float32, timed; runs in Flower's own environment."""

import json
import resource
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

PART = 1 << 22  # values: 16 MiB, as ours
app = ServerApp()


class Timed(FedAvg):
    """FedAvg that notes when it has begun to make messages and when it has the mean."""

    began = ended = 0.0

    def configure_train(self, *given, **more):
        self.began = time.time()
        return super().configure_train(*given, **more)

    def aggregate_train(self, *given, **more):
        found = super().aggregate_train(*given, **more)
        self.ended = time.time()
        return found


@app.main()
def main(grid, context):
    config = context.run_config
    sites = config["sites"]
    while len(list(grid.get_node_ids())) < sites:
        time.sleep(0.2)
    one = (1e-3 * np.random.default_rng(9).laplace(size=PART)).astype(np.float32)
    starts = range(0, config["values"], PART)
    parts = [np.roll(one, n)[: config["values"] - at] for n, at in enumerate(starts)]
    strategy = Timed(fraction_evaluate=0.0, min_train_nodes=sites, min_available_nodes=sites)
    found = strategy.start(grid=grid, initial_arrays=ArrayRecord(parts), num_rounds=1, timeout=3600)
    mean = found.arrays.to_numpy_ndarrays()
    error = max(float(np.abs(new - old - 2e-3).max()) for new, old in zip(mean, parts, strict=True))
    assert error < 1e-6, f"the mean is off by {error}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {"began": strategy.began, "ended": strategy.ended, "peak_kib": peak}
    Path(config["report"]).write_text(json.dumps(told))

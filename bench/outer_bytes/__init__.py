"""Bytes of a run against those of data-parallel: measured on a small one, computed for a billion parameters.

    python -m bench.outer_bytes [--steps N] [--folder DIR]

A byte-level Llama of 0.85 million parameters is trained at three sites over a run's real doors, by the
default schedule. The blobs are those of the coordinator's books and of the channel to the sites; everything
else that a site and the hub say to each other, heartbeats and headers too, is counted by relays of TCP
between them. Data-parallel: float32, every step, up and down.
"""

"""Datasets: where their bytes may be, and what may leave a task that read them."""

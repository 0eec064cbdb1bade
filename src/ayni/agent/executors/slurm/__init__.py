"""The Slurm executor: tasks in pools, taken by batch jobs that are pilots."""

"""Over the real clusters of `dev/slurm.sh`: Ayni beside jobs made by hand, and beside other tools."""

"""Watching a run: its record as rows, how fast it goes, alarms, curves, logs for other programs. No torch."""

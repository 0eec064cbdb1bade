"""The main job on real data: a hub and three sites as real processes, and a story told as it goes."""

"""The joint model of the demo: one small model over the three sites, and what it is worth to each."""

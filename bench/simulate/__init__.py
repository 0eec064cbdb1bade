"""Simulated sites under a simulated clock, with the real broker and the real protocol: scale on paper."""

"""Inner training: what one site does between two versions of the global weights.

The same code runs on a CPU, one GPU and several ranks (FSDP2). Nothing here talks to other sites:
it takes global weights, trains, and says how far the weights went (the pseudo-gradient).
"""

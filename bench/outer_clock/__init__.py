"""Time to the same loss, over three sites and in data-parallel, on a virtual clock.

    python -m bench.outer_clock [--steps N] [--tokens N] [--ratio R] [--chart FILE]

The machine of the outer loop (`lm.outer`) runs as it is, on a clock that events move. A site's inner step
takes what one H200 needs at 45 % of its peak; codec, digests, inspection and merge take what one core
needs here, measured first; links have one rate and delay, both directions at once; a message waits a second
more, as channels do. Data-parallel is a ring in bfloat16 that is overlapped with the whole of the compute:
no better one is possible on such links.

How many more steps ours needs for the same loss is measured at a million parameters (`bench.joint_model`):
one place is trained for fewer and fewer steps, each time with its own schedule, until it is no better.
"""

"""The outer loop of a training run: what sites bring is weighed, merged and stepped. NumPy only.

Everything here gives the same bits on any machine: elementwise operations and sums in a fixed order,
no BLAS. `codec` and `merge` do the arithmetic on streams of fixed blocks, `machine` decides, `perform`
does what it decided, `journal` remembers.
"""

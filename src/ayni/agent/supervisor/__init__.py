"""What outlives the agent: one spawner to a site, one supervisor to a job.

These modules are forked, not started, once for each job. They import only light parts of the
standard library (a test holds this), so that a fork copies little.
"""

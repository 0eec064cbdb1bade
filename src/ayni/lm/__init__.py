"""The joint language model: one model trained over several countries' supercomputers."""

"""What the performance figures come from. `make bench` prints ratios measured in one run."""

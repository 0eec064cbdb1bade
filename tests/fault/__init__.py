"""Long runs in which real processes are killed and messages are lost, doubled and reordered."""

"""The task store, the task's life, the TES and array endpoints."""

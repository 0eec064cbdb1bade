"""SQLite with one line for a process's writers."""

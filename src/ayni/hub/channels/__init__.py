"""Channels: named, ordered messages between a project's tasks and its processes outside."""

"""Relaying what tasks say on channels: from spool folders in their roots to the hub, and back."""

"""Project files: signed URLs, blocks, commit."""

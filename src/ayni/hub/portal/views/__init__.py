"""The pages, a module to a subject."""

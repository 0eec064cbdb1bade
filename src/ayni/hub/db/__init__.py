"""Database engines of our own."""

"""What runs jobs at a site: the local executor by default, a batch system in production."""

"""People, institutions, members, sign-in and tokens."""

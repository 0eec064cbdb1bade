"""Which task goes where, and why. Pure functions over plain data: no clock, no database, no network."""

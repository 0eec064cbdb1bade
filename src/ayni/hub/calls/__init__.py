"""Projects: the unit of access. Calls, proposals, reviews and allocations will stand here."""

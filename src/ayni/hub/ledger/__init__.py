"""Usage records; the books of the exchange will stand on them."""

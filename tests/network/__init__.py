"""Black-box tests, a file to a feature, against a hub and sites that run as real processes."""

"""Sites, their health, and the agents' endpoint."""

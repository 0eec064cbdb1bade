"""The hub: where people meet the network. A Django project, one app to a subject."""

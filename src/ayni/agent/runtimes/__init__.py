"""How a command sees the machine: the host's /usr in a sandbox, or a container."""

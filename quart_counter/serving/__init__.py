"""Running the service: the listening socket, the workers on it, each a process of its own, and the command."""

"""The architectures that this server runs, each in a module of its own."""

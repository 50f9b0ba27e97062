"""How fast and how large it is on this machine: one module for each claim."""

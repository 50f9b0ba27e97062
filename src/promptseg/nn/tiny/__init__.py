"""The built-in network, whose weights lie in the package."""

"""How good a model is: simulated clicks, the protocol, its numbers, and classical baselines."""

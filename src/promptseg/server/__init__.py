"""The HTTP service: many callers, one model. `promptseg serve` runs it."""

"""The public names of other packages over `promptseg.api`, for code that exists."""

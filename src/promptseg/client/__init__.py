"""A client of the service: the verbs and results of the library, asked over HTTP."""

"""The HTTP API: read-only answers from the published copy, each with where it comes from."""

"""The routes, by what a user wants to know."""

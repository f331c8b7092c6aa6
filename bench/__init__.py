"""Benchmarks that anyone can run: `make bench`. Results go to bench/results."""

"""The assets, one module per layer; each asset is the table of the same name."""

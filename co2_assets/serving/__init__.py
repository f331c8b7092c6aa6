"""What people read, from the published copy only: no torch, no Dagster, no writing."""

"""The deployables. None imports another."""

"""Plans events from upstream into calendar entries."""

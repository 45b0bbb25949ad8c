"""What the suites share: a world to run calbus in, and ways to wait for it."""

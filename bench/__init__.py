"""Benchmarks: figures of calbus beside what else could be used."""

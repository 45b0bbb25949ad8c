"""Throughput and latency of calbus beside what people would use instead, and beside the raw limit. Nothing imports it."""

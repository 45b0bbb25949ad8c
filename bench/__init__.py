"""Throughput and latency of calbus beside what people would use instead. Nothing else imports it."""

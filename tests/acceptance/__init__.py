"""What five business systems promise their users, held to on real Kafka, PostgreSQL and the simulated Microsoft 365.

One module for each product. A test is named after its row in `rows.py`; `coverage.py` makes docs/coverage.md of both.
"""

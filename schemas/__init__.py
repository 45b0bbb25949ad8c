"""What crosses a process boundary: event models, their JSON Schemas, and the PostgreSQL migrations.

Nothing here does I/O, except `schemas.generate`, which writes the generated documents.
"""

"""The kernel that the services stand on: bus, store, Graph, settings, telemetry, lifecycle.

It knows the contract (`schemas`) and no service.
"""

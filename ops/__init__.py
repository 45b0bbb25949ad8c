"""What an operator loads into Prometheus, Alertmanager and Grafana. Nothing here runs in a service."""

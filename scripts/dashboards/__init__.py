"""The two dashboards of Grafana, and what writes them as JSON. Standard library only."""

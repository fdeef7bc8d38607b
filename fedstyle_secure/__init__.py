"""Private federated style learning for artists: differential privacy, blind aggregation, leakage audits."""

__version__ = "0.1.0.dev0"

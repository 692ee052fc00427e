"""Example models and applications."""

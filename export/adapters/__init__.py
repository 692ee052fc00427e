"""Adapters: a trained model of some framework → dense parts and a ModelSpec."""

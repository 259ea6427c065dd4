"""Chaos: workers and Redis die at every step; every job still ends once."""

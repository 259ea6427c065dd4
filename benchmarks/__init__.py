"""Benchmarks: what chatq reaches, beside what the same machine reaches without it. Not part of the tests."""

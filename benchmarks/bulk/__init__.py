"""Bulk jobs from file to file: against the engine alone, against a plain loop, on Ray."""

"""Scans of our own making: a random abdomen, a scanner, and a low dose inserted into a real series."""

"""Scans as they are read, stored, divided and cut into patches."""

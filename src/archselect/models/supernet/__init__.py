"""Supernets: every operation on every edge, mixed."""

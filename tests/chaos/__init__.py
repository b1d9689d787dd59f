"""Runs that are killed at random moments, time and again, and must end as if nothing had happened.

python -m tests.chaos --kills 100
"""

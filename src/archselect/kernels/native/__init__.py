"""Loops in C for CPUs, compiled for the machine at hand when they are first needed.

`build` compiles them, `calls` calls them; what they compute stands at the top of each file.
"""

"""Loops in C for CPUs, compiled for the machine at hand when they are first needed.

`build` compiles `csrc`, `native` calls it; what the loops compute stands at the top of each C file.
"""

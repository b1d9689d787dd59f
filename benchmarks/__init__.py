"""How fast the supernets are, what they need, and whether runs survive: `python -m benchmarks --help`.

A module with `add_arguments` and `run` is a command. What they share:

settings    the supernets and their sizes; device, precision, batch size and threads
sides       what is compared: the supernet of the package, and the plain one of `tests/reference`
measuring   time and memory of a call
work        what an operator needs at least: bytes and floating point operations
output      tables, progress, JSON

Nothing else may run on the machine meanwhile.
"""

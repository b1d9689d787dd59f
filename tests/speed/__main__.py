"""`python -m tests.speed`."""

from .comparison import main

if __name__ == "__main__":  # a process of its own imports this file too
    main()

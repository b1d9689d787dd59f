"""`python -m archselect.claims FOLDER`."""

from archselect.claims.section import main

if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m trimtab` is the command line."""

from trimtab.doors.cli.main import main

if __name__ == "__main__":
    main()

"""What runs when somebody types `python -m trimtab`?  The command line."""

from trimtab.doors.cli.main import main

if __name__ == "__main__":
    main()

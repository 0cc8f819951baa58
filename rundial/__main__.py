"""``python -m rundial``: the command line without its script."""

from rundial.cli import main

if __name__ == "__main__":
    main()

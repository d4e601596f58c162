"""`python -m polyport` is the `polyport` command."""

from polyport.cli import main

if __name__ == "__main__":
    main()

"""`python -m bxhealth`."""

from bxhealth.cli import main

if __name__ == "__main__":
    main()

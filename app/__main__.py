"""``python -m app``: the operator's commands."""

from app.cli.main import main

if __name__ == "__main__":
    main()

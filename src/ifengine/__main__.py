"""``python -m ifengine``."""

from ifengine.cli.main import main

if __name__ == "__main__":
    main()

"""``python -m resnest_edge`` is ``resnest-edge``."""

from resnest_edge.cli import main

if __name__ == "__main__":
    main()

"""``python -m resnest_edge`` is ``resnest-edge``."""

from resnest_edge.cli import main

main()

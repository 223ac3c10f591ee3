"""resnest-edge."""

"""The stages composed: what `build`, `export`, `calibrate` and `evaluate` do, without a word of the command line."""

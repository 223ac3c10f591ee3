"""A bundle laid out as another program wants it: one file a program."""

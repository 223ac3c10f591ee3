"""The embedded default: a small trained ResNeSt and labelled scenes that need no download."""

"""The commands of `python -m fastcell`, a module each."""

"""The work of `thresher bench decode` through other people's engines, in turns with ours; see race.py."""

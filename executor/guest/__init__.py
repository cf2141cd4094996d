"""The only code that runs inside a jail: standard library only, and as little of that as can be."""

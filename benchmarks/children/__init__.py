"""Scripts for a peer's own interpreter, in a folder of their own: Python looks for modules there first."""

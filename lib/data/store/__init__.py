"""The store of Hounsfield units, as it is written and as it is read."""

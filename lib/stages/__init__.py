"""What the notebooks do: 01 to 05, one module each."""

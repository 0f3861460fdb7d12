"""Results on disk: files that are whole or not there, and what made them."""

"""What each command does: from options and variables to functions, and what it prints."""

"""The paper itself: what it printed."""

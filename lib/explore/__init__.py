"""What ``notebooks/explore.ipynb`` shows: panels of widgets over what a run has left in its artifacts. Nothing here writes."""

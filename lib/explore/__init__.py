"""What ``notebooks/explore.ipynb`` shows: panels of widgets over the artifacts of a run. Nothing here writes."""

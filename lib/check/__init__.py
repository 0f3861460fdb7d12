"""Know before you start: everything that a run needs, in under a minute, without training."""

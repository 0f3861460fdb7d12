"""Did a run reproduce? Its numbers beside a committed reference, under tolerances that were measured."""

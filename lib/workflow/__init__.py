"""Which stages are out of date, and running them."""

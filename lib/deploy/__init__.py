"""A trained network in other hands: a denoiser for real series, with what it saw and what it is."""

"""Commands on trained networks: denoise, export."""

import argparse


def denoise(arguments: argparse.Namespace) -> None:
    """Denoise series."""
    raise NotImplementedError(arguments)


def export(arguments: argparse.Namespace) -> None:
    """Hand a network on."""
    raise NotImplementedError(arguments)

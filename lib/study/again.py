"""The command that makes what is not there, for the remedy of an error: with the profile and the folder that were asked
for."""

import shlex
from pathlib import Path

from lib import REPOSITORY


def make_paper(profile: str, root: Path) -> str:
    """'make paper PROFILE=smoke', and ' OUTPUT=folder' where results do not go to the checkout, which is ``root`` then."""
    other = "" if root == REPOSITORY else f" OUTPUT={shlex.quote(str(root))}"
    return f"make paper PROFILE={profile}{other}"

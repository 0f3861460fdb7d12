"""What a study is: its configuration, the choices of the environment, and every path."""

from lib.study.config import Study, load_study

__all__ = ["Study", "load_study"]

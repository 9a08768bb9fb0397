"""Looking before a training: what is wrong with a network, its settings or its data, and which learning rate fits."""

from dltrain.check.checks import CHECKS, check_without_data, quick_checks, run_checks
from dltrain.check.finding import Finding
from dltrain.check.game import check_game
from dltrain.check.subject import Subject

__all__ = ["CHECKS", "Finding", "Subject", "check_game", "check_without_data", "quick_checks", "run_checks"]

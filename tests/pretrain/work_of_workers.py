"""What processes of the tests do; imported by each of them, so it imports little."""

import os
import time

from kbert.errors import BadInput
from kbert.files import Unwritable


def setup(offset):
    if offset == "bad":
        raise BadInput("no such offset")
    return offset


def add(offset, number):
    if number == 13:
        raise BadInput("found 13, expected another number")
    if number == 77:
        raise Unwritable("a", "No space left on device")
    if number == 99:
        os._exit(3)
    if number == 50:
        raise ValueError("a fault of the program")
    return offset + number, os.getpid()


def wait(offset, folder):
    """Says that it is there, and stays."""
    with open(os.path.join(folder, str(os.getpid())), "w"):
        pass
    while True:
        time.sleep(0.05)

"""Every family and every task of the package, held against the same checks."""

import pytest
from conformance_checks import FAMILY_CHECKS, TASK_CHECKS, a_directory_reads_back

from kbert import catalog


@pytest.mark.parametrize("check", FAMILY_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("family", catalog.families())
def test_family(family, check):
    check(family)


@pytest.mark.parametrize("family", catalog.families())
def test_family_directory(family, tmp_path):
    a_directory_reads_back(family, tmp_path)


@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("task", catalog.tasks())
def test_task(task, check):
    check(task)


def test_there_is_something_to_check():
    assert "bert" in catalog.families()
    assert "classification" in catalog.tasks()

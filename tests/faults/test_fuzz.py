"""A few thousand mutants of what our parsers read; `make fuzz` takes as many as time allows."""

import random

import pytest

from tests.faults.fuzz import fuzzed, parsers

MUTANTS, SECONDS = 60, 20.0


@pytest.fixture(scope="module")
def known():
    return parsers()


def test_no_mutant_ends_otherwise_than_read_or_refused(known):
    problems = {}
    for name, parser in known.items():
        _, problems[name] = fuzzed(name, parser, SECONDS, random.Random(name), MUTANTS)
    assert {name: problem for name, problem in problems.items() if problem} == {}

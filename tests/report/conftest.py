"""One good run for all tests of the report, and a browser."""

import pytest
from explore.browser import Browser

from payneflow.report.facts import read_facts
from report.made import write_results_of_a_good_run


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """Results of a good run, in a directory whose name is hard to write; not to be changed."""
    return write_results_of_a_good_run(tmp_path_factory.mktemp("report") / 'results é \'of <a> "run"')


@pytest.fixture(scope="session")
def good(results):
    return read_facts(results)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()

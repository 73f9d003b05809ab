"""The parts of bench/compare: machine, peers, load, scenarios, report."""

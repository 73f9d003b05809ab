"""The parts of bench/compare and bench/instructions: machine, peers, load, scenarios, reports."""

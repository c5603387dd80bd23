"""Faults of a supervised fleet, each with what was measured: `python -m tests.faults.reliability` (make reliability)
writes docs/reliability.md anew, and test_reliability.py runs the same functions with the same bounds.

A fault is a function that breaks something, waits until all is right again, asserts what must hold, and returns what
was lost, what was shown meanwhile, and the seconds until all was right.
"""

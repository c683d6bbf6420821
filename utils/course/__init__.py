"""The course's machinery: running the notebooks, the report, the reference run, README's table, hand-outs."""

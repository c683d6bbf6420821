"""Shared code of the workbook: one module per subject, imports flow downwards only.

Import from the modules by name, for instance ``from utils.datasets import load``; nothing is re-exported here, so that
``import utils`` stays free of PyTorch and TensorFlow.
"""

"""Synthetic notices of missing children and found people, and the linkers they are judged by."""

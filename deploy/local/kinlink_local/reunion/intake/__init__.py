"""Notices as offices and families write them, made into the table of notices, and back."""

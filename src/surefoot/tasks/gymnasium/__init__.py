"""Gymnasium's tasks that have a body, fall rule, names or mirror image here, or a faster simulation."""

"""Policies that run elsewhere: ONNX, C, and a description of what a robot must provide."""

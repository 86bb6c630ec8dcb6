"""Robots as MuJoCo models: ANYmal C from primitive shapes, loading from files, and the names of a body's parts."""

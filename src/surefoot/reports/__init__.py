"""What is seen: evaluation, curves and video, all made from run folders."""

"""What moves: MuJoCo models built of primitive shapes, and the names of their parts."""

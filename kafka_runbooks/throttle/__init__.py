"""How fast each broker may replicate: pure functions from capacity and measurements to rates."""

"""What a machine will do under a load: told from a few measurements by the engine's own scheduler, in made time."""

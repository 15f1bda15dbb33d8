"""Pure planning: which replica lives on which broker, how far that is from the best, and in which safe steps to get there."""

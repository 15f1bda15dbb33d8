"""What no plan can beat: the least spread, and the fewest bytes for a spread. Three models, each tighter and slower."""

"""What the recipe learns from: pinned packages, looks, concepts, and their names in nine languages."""

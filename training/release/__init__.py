"""What is committed: the folder of the model, its card and licences, the demo's pictures."""

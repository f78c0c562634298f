"""What a trained model is worth: embeddings of looks and texts, metrics, calibration, the evaluation."""

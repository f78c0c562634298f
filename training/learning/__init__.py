"""The two stages of training: pictures learn concept prototypes, texts learn where pictures lie."""

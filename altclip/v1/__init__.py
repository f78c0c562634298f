"""Generated from `protos/altclip/v1` by `make proto`; never edited by hand."""

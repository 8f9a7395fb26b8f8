"""What runs in the Pythons of the converters. It is hashed whole: it is an input of every model."""

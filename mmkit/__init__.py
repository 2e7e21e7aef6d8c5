"""mmkit: train, evaluate and inspect multimodal models on your own data, from the shell."""

__version__ = "0.1.0"

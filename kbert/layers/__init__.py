"""Keras 3 layers in `keras.ops`: TensorFlow and JAX both run them."""

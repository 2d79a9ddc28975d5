"""The part of Fashion-MNIST that comes with minicnn; NOTICE has its origin and licence."""

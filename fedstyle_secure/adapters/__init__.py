"""The layer inside other federated-learning stacks (Flower, NVFlare). Nothing is built here yet."""

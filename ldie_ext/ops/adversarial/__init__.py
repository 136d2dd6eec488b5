"""Adversarial alignment: masks from boxes and the masked scale discriminator's reduction."""

"""The U-Net in training and in use."""

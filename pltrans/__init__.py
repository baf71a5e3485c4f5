"""PLTrans: blind face restoration by latent transformers (CVPR 2024), our implementation."""

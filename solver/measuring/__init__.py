"""Measuring: PSNR and SSIM of what a network makes."""

"""fp32 model files to int8 ones, and the images that calibrate them."""

"""Fine-tuning under the very Q/DQ that an engine will run: the last resort where calibration alone loses too much."""

"""The Levenberg-Marquardt trainer."""

"""The experiments of Gerken & Kessel 2024 (arXiv 2403.03103) at infinite width, one in each file."""

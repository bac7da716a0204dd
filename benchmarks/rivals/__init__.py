"""What the product is compared with: programs, how they are installed, how they are run."""

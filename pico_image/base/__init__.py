"""What every room needs: errors, the console, files, the cache, the identity of this project."""

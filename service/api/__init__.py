"""What each path takes and gives. Knows HTTP, codecs and the engine; contains no arithmetic."""

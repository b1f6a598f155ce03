"""The same ladder in the words of other APIs, one file for each: clients only change their base URL."""

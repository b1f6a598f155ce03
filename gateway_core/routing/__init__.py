"""Who is asked, in what order, until when; and what happens when an answer breaks off."""

"""An atlas of the Americas' languages: texts stay where they are, profiles travel, a picture comes of it."""

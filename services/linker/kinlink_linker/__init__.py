"""The centre: finds candidates by opaque tokens, scores sealed pairs, keeps links and persons."""

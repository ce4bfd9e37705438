"""One module per question a person asks: an `Inspection` in, an `Answer` out, without reading the host again."""

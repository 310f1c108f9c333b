package plan

// Bounded shortens a text to at most limit bytes, on a rune's edge, and shows
// that it did.
func Bounded(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = "…"
	cut := limit - len(more)
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + more
}
